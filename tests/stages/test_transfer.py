"""With and without a pretrained model: four runs of the main job on the same recordings
and splits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ecgnb
from ecgnb.core.errors import ConfigError, StageError
from ecgnb.deploy.bundle_folder import load_bundle
from ecgnb.figures.plots import plot_starts
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.foundation.stand_in import SMALL, small_stand_in, stand_in
from ecgnb.run import session
from ecgnb.stages.train import build_run_model
from ecgnb.stages.transfer import WAYS, compare_starts

QUICK = {
    "PREPROCESS_LIMIT": 80,
    "EPOCHS": 1,
    "BOOTSTRAP_RESAMPLES": 50,
    "N_JOBS": 1,
    "LR": 1e-3,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path


@pytest.mark.slow
def test_four_ways_to_begin_side_by_side(home: Path) -> None:
    checkpoint = small_stand_in(home / "stand_in.pt")
    own = ecgnb.open_run(SEED=7)
    table = compare_starts(str(checkpoint), QUICK)
    assert ecgnb.open_run() == own, "a comparison does not become the latest run"
    with pytest.raises(StageError, match=r"No run .* has done stage 'evaluate' yet"):
        ecgnb.find_run("latest")
    start_from = ecgnb.find_run(table["run"][0]).config.model.start_from
    assert start_from == "stand_in.pt", "names do not depend on the project's path"
    assert table["start"].tolist() == list(WAYS) and table["run"].nunique() == 4
    assert (
        (table["low"] <= table["macro_auroc"]) & (table["macro_auroc"] <= table["high"])
    ).all()
    assert len(list(home.glob("artifacts/stores/*/manifest.json"))) == 1, (
        "all runs share their recordings"
    )
    splits = {
        (home / "artifacts" / "runs" / run / "splits.json").read_bytes()
        for run in table["run"]
    }
    assert len(splits) == 1
    before = {
        name: value
        for name, value in load_ecg_fm(checkpoint).state_dict().items()
        if "pretraining" not in name
    }
    models = [
        load_bundle(home / "artifacts" / "runs" / run / "bundle").model.state_dict()
        for run in table["run"]
    ]
    moved = [
        [name for name in before if not torch.equal(before[name], model[name])]
        for model in models
    ]
    assert moved[0] == [], "a probe leaves the pretrained encoder as it is"
    assert len(moved[1]) > 15, "its baseline has another, random encoder"
    assert len(moved[2]) == len(before), "fine-tuning moves every part"
    assert compare_starts(str(checkpoint), QUICK).equals(table), (
        "what is done is not done again"
    )
    assert (
        plot_starts(table).axes[0].get_yticklabels()[1].get_text()
        == "linear probe, random encoder"
    )


def test_start_from_a_checkpoint_begins_with_its_weights(home: Path) -> None:
    checkpoint = stand_in(home / "fine.pt", n_classes=17, optimizer=False, **SMALL)
    recipe = {
        "TARGET_SAMPLES": 2500,
        "CROP": "start",
        "RESAMPLING": "linear",
        "FILTERS": ["zscore"],
        "TRANSFORMS": [],
    }
    run = ecgnb.open_run(
        {**QUICK, **recipe, "START_FROM": str(checkpoint), "FREEZE": "stem"}
    )
    assert run.name.startswith("demo-smoke-from_fine-")
    for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split):
        stage(run)
    model, before = build_run_model(run), load_ecg_fm(checkpoint).state_dict()
    assert model.n_classes == 5 and model.spec()["name"] == "ecg_fm"
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (
            not name.startswith("head.classifier")
        ), name


def test_preflight_names_the_pretraining_of_the_model(home: Path) -> None:
    checkpoint = small_stand_in(home / "stand_in.pt")
    run = ecgnb.open_run({**QUICK, "TARGET_FS": 250, "START_FROM": str(checkpoint)})
    with pytest.raises(
        Exception,
        match=r"-p TARGET_FS 500 .*-p RESAMPLING linear -p FILTERS '\[\"zscore\"\]'",
    ):
        ecgnb.preflight(run)


def test_start_from_nothing_says_what_it_may_be(home: Path) -> None:
    run = ecgnb.open_run({**QUICK, "START_FROM": str(home / "none")})
    for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split):
        stage(run)
    with pytest.raises(
        ConfigError, match=r"is no checkpoint and holds no model\.safetensors"
    ):
        ecgnb.train(run)
