"""The card of a model says what is true of it, in the hub's form, and nothing of the
machine it comes from."""

from __future__ import annotations

import copy
import dataclasses
import sys

import pytest
from huggingface_hub import ModelCard

from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle
from ecgnb.deploy.card import card_body, model_card, without_paths


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    """A bundle whose results and origin are worth a card."""
    return dataclasses.replace(
        bundle,
        temperature=1.25,
        metrics={
            "intervals": [
                {"metric": "macro_auroc", "value": 0.91234, "low": 0.88, "high": 0.93},
                {"metric": "f_max", "value": 0.5, "low": None, "high": None},
                {"metric": "challenge", "value": None, "low": None, "high": None},
            ],
            "split": {"train": 800, "valid": 100, "test": 100, "leaks": 0},
        },
        provenance={
            "run": "ptbxl-resnet1d-0a1b",
            "dataset": "ptbxl",
            "license": "CC BY 4.0",
            "parameters": {
                "EPOCHS": 3,
                "DATASET_DIR": "/home/anna/ptbxl",
                "LEADS": ["I", "II"],
                "CONFIDENCE": 0.9,
            },
            "environment": {
                "python": "3.11.9",
                "system": "Linux anna-desktop",
                "packages": {"torch": "2.6.0", "nbval": "not installed"},
            },
            "records": ["patient 4711", "patient 4712"],
            "started from": {
                "file": "model.pt",
                "folder": "C:\\Users\\anna\\models",
                "also": ["patient 4713"],
            },
        },
    )


def rows(card: str, section: str) -> list[list[str]]:
    """The cells of the first table below a heading, without head and rule."""
    lines = card.partition(f"## {section}\n\n")[2].splitlines()
    table = lines[
        : next(n for n, line in enumerate([*lines, ""]) if not line.startswith("|"))
    ]
    return [line.strip("| ").split(" | ") for line in table[2:]]


def test_the_front_matter_is_what_the_hub_reads(bundle: Bundle) -> None:
    data = ModelCard(model_card(bundle)).data
    assert (data.library_name, data.license, data.pipeline_tag) == (
        "ecgnb",
        "cc-by-4.0",
        None,
    )
    assert {"electrocardiogram", "ecg", "pytorch"} <= set(data.tags)
    assert data.model_name == "resnet1d"
    results = {item.metric_type: item for item in data.eval_results}
    assert list(results) == ["macro_auroc", "f_max"]
    assert (
        results["macro_auroc"].metric_value,
        results["macro_auroc"].dataset_name,
    ) == (0.9123, "ptbxl")
    assert results["macro_auroc"].dataset_split == "test"


def test_a_license_that_the_hub_does_not_know_has_a_name(bundle: Bundle) -> None:
    own = dataclasses.replace(bundle, provenance={"license": "Clinic: research only!"})
    data = ModelCard(model_card(own)).data
    assert (data.license, data.license_name) == ("other", "clinic-research-only")
    assert data.eval_results[0].dataset_name == "unknown"
    assert (
        ModelCard(model_card(dataclasses.replace(bundle, provenance={}))).data.license
        is None
    )


def test_the_card_describes_the_input(bundle: Bundle) -> None:
    facts = dict(rows(model_card(bundle), "Input"))
    assert facts["leads"] == "I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6"
    assert facts["rate"].startswith("100 Hz") and facts["units"].startswith("mV")
    assert (
        facts["length"]
        == "10 s (1000 samples); longer recordings are cut into windows, shorter ones are padded with zeros"
    )
    assert (
        facts["transforms, of the model's input"].startswith("zscore (")
        and "bandpass (low 0.5, high 30.0"
        in (facts["transforms, of the model's input"])
    )
    cropped = dict(rows(model_card(dataclasses.replace(bundle, aggregate=())), "Input"))
    assert "longer recordings are cropped to the beginning" in cropped["length"]


def test_each_class_has_its_threshold_and_its_way_over_windows(bundle: Bundle) -> None:
    card = model_card(bundle)
    assert rows(card, "Classes") == [
        ["NORM", "0.1", "mean"],
        ["Vörhof\\|flimmern", "0.3333", "max"],
        ["\\<b>", "0.7", "mean"],
    ]
    assert "Logits are divided by 1.25." in card
    model = copy.deepcopy(bundle.model)
    model.task = "multiclass"
    one = dataclasses.replace(
        bundle,
        model=model,
        task="multiclass",
        thresholds=(),
        aggregate=(),
        temperature=1.0,
    )
    card = model_card(one)
    assert [row[0] for row in rows(card, "Classes")] == [
        "NORM",
        "Vörhof\\|flimmern",
        "\\<b>",
    ]
    assert "The most probable class is called." in card and "divided" not in card


def test_the_numbers_have_their_intervals(bundle: Bundle) -> None:
    card = model_card(bundle)
    assert rows(card, "Results") == [
        ["macro\\_auroc", "0.912", "0.880 to 0.930"],
        ["f\\_max", "0.500"],
    ]
    assert "| metric | value | 90% interval |" in card
    assert "Recordings: 800 for training, 100 for validation, 100 for the test." in card
    assert "## Results" not in model_card(dataclasses.replace(bundle, metrics={}))


def test_the_origin_is_described_without_this_machine_and_without_recordings(
    bundle: Bundle,
) -> None:
    card = model_card(bundle)
    facts = dict(rows(card, "Where it comes from"))
    assert facts["run"] == "ptbxl-resnet1d-0a1b" and facts["parameters: EPOCHS"] == "3"
    assert (
        facts["parameters: LEADS"] == '\\["I", "II"\\]'
        and facts["started from: file"] == "model.pt"
    )
    assert facts["versions"] == "python 3.11.9, torch 2.6.0"
    for private in ("anna", "4711", "4713", "not installed"):
        assert private not in card
    assert "## Where it comes from" not in model_card(
        dataclasses.replace(bundle, provenance={})
    )


def test_a_model_without_classes_gives_embeddings(bundle: Bundle) -> None:
    bare: dict = {
        "classes": (),
        "thresholds": (),
        "aggregate": (),
        "metrics": {},
        "temperature": 1.0,
    }
    card = model_card(dataclasses.replace(bundle, **bare))
    assert ModelCard(card).data.pipeline_tag == "feature-extraction"
    assert (
        "# Electrocardiogram encoder (resnet1d)" in card
        and "## Classes" not in card
        and "classes" not in card
    )
    assert "longer recordings are cut into windows" in card
    assert (
        "ecgnb predict recording.hea --run owner/repository --out FOLDER --embeddings"
        in card
    )


def test_without_the_hub_extra_the_metadata_have_no_results(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model_card(bundle)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    plain = model_card(bundle)
    assert card_body(plain) == card_body(card)
    data = ModelCard(plain).data
    assert (data.library_name, data.license) == ("ecgnb", "cc-by-4.0")
    assert "ecg" in data.tags and data.eval_results is None


def test_the_limits_and_the_lines_to_use_it(bundle: Bundle) -> None:
    card = model_card(bundle, "clinic/ecg")
    assert "For research, not for decisions about patients." in card
    assert 'table = ecgnb.predict("recording.hea", run="clinic/ecg")' in card
    assert "ecgnb predict recording.hea --run clinic/ecg" in card
    assert "owner/repository" in model_card(bundle)


@pytest.mark.parametrize(
    "path",
    ["/home/anna", "~/data", "~anna/x", "C:\\data", "d:/data", "\\\\server\\share", "from '/data/x' of 2020", "file:///a",
     "folder=/data", "data:/mnt/x"],
)  # fmt: skip
def test_paths_of_this_machine_are_left_out_wherever_they_stand(path: str) -> None:
    value = {"a": path, "b": [path, 1, {path: 2, "c": (path, "d")}], "e": "kept"}
    assert without_paths(value) == {"b": [1, {"c": ("d",)}], "e": "kept"}


@pytest.mark.parametrize(
    "text",
    [
        "mV/s",
        "1 / 2",
        "https://example.org/a/b",
        "about ~5 Hz",
        "runs/first",
        "CC BY 4.0",
        "a\\b",
        "or/and",
        "",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert without_paths({"a": text, "b": [text]}) == {"a": text, "b": [text]}


def test_the_card_of_a_run(finished_run) -> None:
    card = model_card(load_bundle(finished_run.path("bundle")))
    data = ModelCard(card).data
    assert {item.metric_type for item in data.eval_results} == {
        row["metric"] for row in finished_run.metrics["intervals"]
    }
    assert finished_run.name in card and str(finished_run.root) not in card
    assert len(rows(card, "Classes")) == len(finished_run.classes)
