"""A training that begins with the weights of another: a bundle's, or a ported Keras
model's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import ecgnb
from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.run import session
from ecgnb.stages.report import _parameter_section as reproduce
from ecgnb.stages.train import build_run_model, start_model

STILL = {"EPOCHS": 1, "LR": 1e-12, "WEIGHT_DECAY": 0.0}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path


def prepared(parameters: dict):
    run = ecgnb.open_run(parameters)
    for stage in (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split):
        stage(run)
    return run


def test_start_from_begins_with_the_weights_of_the_bundle(
    home, finished_home, small_parameters
) -> None:
    first = next((finished_home / "artifacts/runs").glob("*/bundle"))
    run = prepared({**small_parameters, **STILL, "START_FROM": str(first)})
    before = load_file(first / "model.safetensors")
    model = build_run_model(run)
    assert all(
        np.array_equal(value.numpy(), before[key].numpy())
        for key, value in model.state_dict().items()
    )
    ecgnb.train(run)
    ecgnb.evaluate(run)
    after = load_file(run.path("bundle/model.safetensors"))
    names = dict(reproduce(run).tables)["Parameters"]["parameter"].tolist()
    assert (
        "START_FROM" in names and "MODEL" not in names and "MODEL_OPTIONS" not in names
    ), "what was not used"
    learnt = [key for key in before if key.endswith(".weight")]
    assert max(float((after[key] - before[key]).abs().max()) for key in learnt) < 1e-6


def test_start_from_draws_a_classifier_for_other_classes(
    home, finished_home, small_parameters
) -> None:
    first = next((finished_home / "artifacts/runs").glob("*/bundle"))
    bundle = load_bundle(first)
    other = save_bundle(
        dataclasses.replace(bundle, classes=tuple("abcdefg"[: len(bundle.classes)])),
        home / "other",
    )
    run = prepared({**small_parameters, "START_FROM": str(other)})
    one, two = build_run_model(run), build_run_model(run)
    old = bundle.model.state_dict()
    for key, value in one.state_dict().items():
        assert np.array_equal(value, old[key]) == (
            not key.startswith("head.classifier")
        ), key
        assert np.array_equal(value, two.state_dict()[key]), (
            "the same seed draws the same classifier"
        )


def test_start_from_what_does_not_fit_is_refused(
    home, finished_home, small_parameters, caplog
) -> None:
    first = next((finished_home / "artifacts/runs").glob("*/bundle"))
    run = prepared(
        {**small_parameters, "TARGET_SAMPLES": 500, "START_FROM": str(first)}
    )
    with pytest.raises(ConfigError, match="TARGET_SAMPLES: 1000, the run has 500"):
        start_model(run)
    run = prepared(
        {**small_parameters, "TRANSFORMS": ["zscore", "clip"], "START_FROM": str(first)}
    )
    start_model(run)
    assert "was trained with other TRANSFORMS" in caplog.text
    run = prepared({**small_parameters, "START_FROM": str(home / "nowhere")})
    with pytest.raises((CheckpointError, ConfigError), match="nowhere"):
        ecgnb.train(run)


@pytest.mark.slow
def test_start_from_a_ported_keras_model(home, golden_dir, small_parameters) -> None:
    """The pathology network goes on learning, from its own weights, in the main job."""
    from ecgnb.deploy.opening import bundle_of_port
    from ecgnb.port import port_keras

    port = port_keras(
        golden_dir / "keras/pathology_avb/model.json", contract="pathology_avb"
    )
    folder = save_bundle(bundle_of_port(port), home / "avb")
    contract = port.contract
    run = prepared(
        {
            **small_parameters,
            "START_FROM": str(folder),
            "TARGET_FS": 500,
            "TARGET_SAMPLES": 2000,
            "LEADS": list(contract.leads),
            "CROP": "start",
            "FILTERS": list(contract.filters),
            "TRANSFORMS": [],
            "EPOCHS": 1,
        }
    )
    ecgnb.train(run)
    metrics = ecgnb.evaluate(run)
    assert metrics is not None and run.path("bundle/bundle.json").is_file()
    again = load_bundle(run.path("bundle"))
    assert again.prepare.filters == contract.filters and len(again.classes) == 5
