"""Explaining a trained model's answer on a recording of one's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import ecgnb
from ecgnb.core.errors import ConfigError, LabelError, ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.demo.cohort_files import synthesise
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.signal.standardise import standardise, standardise_windows
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.deploy.windows import model_input
from ecgnb.explain import EXPLAINERS, explain
from ecgnb.models import build_model
from ecgnb.stages.explanation import explain_recording
from ecgnb.stages.predict import find_bundle
from ecgnb.transforms.pipeline import build_pipeline


@pytest.mark.parametrize(
    "method",
    ["gradient_x_input", "integrated_gradients", "grad_cam", "lrp_epsilon_std"],
)
def test_explanation_is_of_what_the_model_saw(finished_run, method) -> None:
    recording = synthesise(1)
    result = explain_recording(recording, finished_run, method)
    bundle = find_bundle(finished_run)
    row = ecgnb.predict(recording, run=finished_run).iloc[0]
    assert (result.run, result.model) == (finished_run.name, "resnet1d")
    assert result.target == max(bundle.classes, key=lambda name: row[name])
    assert result.probabilities == {name: row[name] for name in bundle.classes}
    ready = standardise(recording, bundle.prepare)
    np.testing.assert_array_equal(result.recording.signal, ready.signal)
    expected = explain(
        bundle.model,
        model_input(bundle, ready),
        method,
        bundle.classes.index(result.target),
    )[0]
    np.testing.assert_allclose(
        result.attribution, expected.numpy(), rtol=1e-5, atol=1e-7
    )
    assert np.abs(result.attribution).max() > 0


@pytest.fixture
def windowed(tmp_path) -> tuple[str, Bundle]:
    """A model that reads windows of 4 s, each lead z-scored over the whole
    recording."""
    torch.manual_seed(3)
    words = {
        "n_leads": 12,
        "n_samples": 2000,
        "fs": 500.0,
        "n_classes": 2,
        "leads": STANDARD_12,
        "task": "multilabel",
    }
    model = build_model(
        "resnet1d", **words, widths=(8, 12), depths=(1, 1), norm="group"
    ).eval()
    recipe = {"crop": "start", "resampling": "linear", "filters": ("zscore",)}
    prepare = PrepareConfig(500.0, 2000, STANDARD_12, **recipe)
    bundle = Bundle(
        model,
        ("AF", "MI"),
        "multilabel",
        prepare,
        build_pipeline([]),
        aggregate=("mean", "max"),
    )
    return str(save_bundle(bundle, tmp_path / "windowed")), bundle


@pytest.mark.parametrize("method", ["gradient_x_input", "grad_cam"])
def test_explanation_of_windows_is_joined_along_time(windowed, method) -> None:
    folder, bundle = windowed
    recording = synthesise(1)
    result = explain_recording(recording, folder, method, "MI")
    windows = standardise_windows(recording, bundle.prepare)
    assert len(windows) == 2 and result.recording.signal.shape == (12, 4000)
    assert result.attribution.shape == (
        (12, 4000) if method == "gradient_x_input" else (4000,)
    )
    for number, window in enumerate(windows):
        expected = explain(bundle.model, model_input(bundle, window), method, 1)[
            0
        ].numpy()
        part = result.attribution[..., 2000 * number : 2000 * number + 2000]
        np.testing.assert_allclose(
            part, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max()
        )
    row = ecgnb.predict(recording, run=folder).iloc[0]
    assert (
        result.probabilities == {"AF": row["AF"], "MI": row["MI"]}
        and result.prediction == row["prediction"]
    )
    # What is drawn is in mV, not the z-scores that the model sees: paper has a scale.
    np.testing.assert_array_equal(result.recording.signal, recording.signal[:, :4000])
    assert (
        result.table()["largest_at_s"].between(0, 8).all()
        and result.densest_second(3.0) <= 5.0
    )


def test_explanation_of_windows_is_shown_on_paper(windowed, tmp_path) -> None:
    folder, _ = windowed
    file = tmp_path / "explanation.png"
    table = ecgnb.show.explanation(
        synthesise(1), run=folder, method="gradient_x_input", save_to=file
    )
    assert file.read_bytes().startswith(b"\x89PNG") and table[
        "share"
    ].sum() == pytest.approx(1.0)


def test_explanation_of_another_class_is_another(finished_run) -> None:
    recording = synthesise(1)
    classes = find_bundle(finished_run).classes
    first, second = (
        explain_recording(recording, finished_run, "gradient", name).attribution
        for name in classes[:2]
    )
    assert np.abs(first - second).max() > 1e-6


def test_explanation_table_tells_each_leads_share(finished_run) -> None:
    table = explain_recording(synthesise(1), finished_run, "gradient_x_input").table()
    assert table["share"].sum() == pytest.approx(1.0) and len(table) == 12
    assert ((table["largest_at_s"] >= 0) & (table["largest_at_s"] < 10)).all()
    over_time = explain_recording(synthesise(1), finished_run, "grad_cam").table()
    np.testing.assert_allclose(over_time["share"], 1 / 12, rtol=1e-6)


def test_explanation_refuses_what_it_cannot_do(finished_run) -> None:
    recording = synthesise(1)
    with pytest.raises(LabelError, match=r"no class 'NRM'\. Did you mean 'NORM'"):
        explain_recording(recording, finished_run, target="NRM")
    with pytest.raises(
        ConfigError, match=r"gradient_x_inptu.*Did you mean 'gradient_x_input'"
    ):
        explain_recording(recording, finished_run, "gradient_x_inptu")
    assert "grad_cam" in EXPLAINERS
    silent = Recording(
        np.zeros((12, 5000), np.float32), 500.0, recording.leads, "silent"
    )
    with pytest.raises(ReadError, match="constant"):
        explain_recording(silent, finished_run)


def test_explanation_shows_where_the_relevance_is(finished_run) -> None:
    result = explain_recording(synthesise(1), finished_run, "gradient_x_input")
    fs = result.recording.fs
    attribution = np.zeros((12, int(30 * fs)), np.float32)
    attribution[3, int(22 * fs) : int(24 * fs)] = -1.0
    longer = dataclasses.replace(result.recording, signal=np.zeros_like(attribution))
    moved = dataclasses.replace(result, recording=longer, attribution=attribution)
    assert 14.0 <= moved.densest_second() <= 20.0 and result.densest_second() == 0.0


def test_explanation_is_shown_on_paper(finished_run, tmp_path) -> None:
    file = tmp_path / "explanation.png"
    table = ecgnb.show.explanation(
        synthesise(1), run=finished_run, method="lrp_epsilon_std", save_to=file
    )
    assert file.read_bytes().startswith(b"\x89PNG")
    assert list(table.columns) == ["lead", "share", "largest_at_s"]
