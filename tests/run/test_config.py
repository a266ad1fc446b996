from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.run.config import (
    PROFILES,
    RunConfig,
    parameter_types,
    parameters_from_namespace,
)


def resolve(environment: dict[str, str] | None = None, **parameters: Any) -> RunConfig:
    return RunConfig.from_parameters(parameters, environment or {})


def test_defaults_are_the_fields_habits() -> None:
    config = resolve()
    assert (config.prepare.target_fs, config.prepare.target_samples) == (500.0, 5000)
    assert (config.profile, config.data.preprocess_limit, config.training.epochs) == (
        "smoke",
        256,
        1,
    )
    assert resolve(PROFILE="medium").data.preprocess_limit == 5000
    assert resolve(PROFILE="full").data.preprocess_limit == 0


def test_precedence_default_profile_environment_parameter() -> None:
    assert resolve(PROFILE="full").training.epochs == PROFILES["full"]["EPOCHS"] == 50
    assert resolve({"ECGNB_EPOCHS": "7"}, PROFILE="full").training.epochs == 7
    assert resolve({"ECGNB_EPOCHS": "7"}, PROFILE="full", EPOCHS=3).training.epochs == 3
    assert resolve({"ECGNB_EPOCHS": "7"}, EPOCHS=None).training.epochs == 7
    assert resolve({"ECGNB_PROFILE": "full"}).training.epochs == 50


def test_every_field_is_a_parameter_of_its_own_name() -> None:
    """Two sections must not use one name, or a parameter would mean two things."""
    names = [
        field.name
        for section in dataclasses.fields(RunConfig)
        if dataclasses.is_dataclass(section.default_factory)
        for field in dataclasses.fields(section.default_factory)
    ]
    assert len(names) == len(set(names))
    assert {name.upper() for name in names} | {"PROFILE"} == set(parameter_types())
    for name in [
        "TARGET_FS",
        "TARGET_SAMPLES",
        "PREPROCESS_LIMIT",
        "BATCH_SIZE_CPU",
        "BATCH_SIZE_GPU",
        "EPOCHS",
        "LR",
        "WEIGHT_DECAY",
        "GRAD_ACCUM_STEPS",
        "CLIP_NORM",
        "SCHEDULER",
        "MIXED_PRECISION",
        "EARLY_STOPPING_PATIENCE",
        "CLASS_WEIGHTS",
        "SEED",
        "DRY_RUN",
        "LABEL_ORDER",
        "MODEL",
        "DATASET",
        "DATASET_DIR",
        "PROFILE",
        "DEVICES",
    ]:
        assert name in parameter_types()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"no parameter 'EPOCH' \(value 3\)\. Did you mean EPOCHS"
    ):
        resolve(EPOCH=3)
    with pytest.raises(ConfigError, match="no parameter 'EPOCSH'"):
        resolve({"ECGNB_EPOCSH": "3"})
    with pytest.raises(ConfigError, match="PROFILE is 'huge'"):
        resolve(PROFILE="huge")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DRY_RUN", "true", True),
        ("DRY_RUN", "False", False),
        ("EPOCHS", "12", 12),
        ("EPOCHS", 12.0, 12),
        ("LR", "1e-3", 0.001),
        ("LR", 1, 1.0),
        ("LABEL_ORDER", "NORM, AF", ("NORM", "AF")),
        ("LABEL_ORDER", ["NORM", "AF"], ("NORM", "AF")),
        ("LEADS", '["I", "II"]', ("I", "II")),
        ("MODEL_OPTIONS", '{"width": 8}', {"width": 8}),
        ("AUGMENT", """["lead_dropout", {"name": "clip"}]""", ("lead_dropout", {"name": "clip"})),
        ("SCHEDULER", "one-cycle", "one-cycle"),
    ],
)  # fmt: skip
def test_text_is_read_as_the_type_asks(name: str, value: Any, expected: Any) -> None:
    assert resolve(**{name: value}).parameters()[name] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DRY_RUN", 1),
        ("DRY_RUN", "yes"),
        ("EPOCHS", "three"),
        ("EPOCHS", 2.5),
        ("EPOCHS", True),
        ("EPOCHS", -1),
        ("LR", "fast"),
        ("LR", [1]),
        ("LR", float("nan")),
        ("MODEL", 3),
        ("LABEL_ORDER", 5),
        ("LABEL_ORDER", ["A", "A"]),
        ("MODEL_OPTIONS", "width=8"),
        ("SCHEDULER", "cosinus"),
        ("TARGET_FS", 0),
        ("TARGET_SAMPLES", 0),
        ("PREPROCESS_LIMIT", -5),
    ],
)
def test_a_wrong_type_or_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        resolve(**{name: value})


def test_the_key_names_what_changes_results() -> None:
    base = resolve().key()
    assert resolve(N_JOBS=1).key() == base
    assert resolve(EPOCHS=1).key() == base, (
        "a value equal to the default changes nothing"
    )
    changed = {
        resolve(**{name: value}).key()
        for name, value in {"SEED": 1, "LR": 0.01, "TARGET_FS": 250}.items()
    }
    assert len(changed | {base}) == 4


def test_a_resolved_configuration_reads_back(tmp_path: Any) -> None:
    from ecgnb.core.files import read_json, write_json

    config = resolve(
        MODEL_OPTIONS={"width": 8},
        LABEL_ORDER="A,B",
        AUGMENT=[{"name": "gaussian_noise"}],
        LR=3e-4,
    )
    write_json(tmp_path / "c.json", config.parameters())
    again = RunConfig.from_resolved(read_json(tmp_path / "c.json"))
    assert again == config and again.key() == config.key()


def test_a_namespace_gives_its_parameters_only() -> None:
    namespace = {
        "EPOCHS": 3,
        "LR": None,
        "_": 5,
        "In": [],
        "X": 2,
        "np": pytest,
        "DF": pytest,
        "run": 1,
        "OUT_": object(),
    }
    assert parameters_from_namespace(namespace) == {"EPOCHS": 3, "LR": None}
    with pytest.raises(ConfigError, match="EPOCSH"):
        RunConfig.from_parameters(parameters_from_namespace({"EPOCSH": 3}), {})
