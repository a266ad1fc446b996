from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json, write_json
from ecgnb.run.config import (
    PROFILES,
    RunConfig,
    parameter_help,
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


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"no parameter 'EPOCH' \(value 3\)\. Did you mean EPOCHS"
    ):
        resolve(EPOCH=3)
    with pytest.raises(ConfigError, match="no parameter 'EPOCSH'"):
        resolve({"ECGNB_EPOCSH": "3"})
    with pytest.raises(ConfigError, match="PROFILE is 'huge'"):
        resolve(PROFILE="huge")


def test_a_wrong_type_or_value_is_refused_before_anything_starts() -> None:
    for name, value in {
        "EPOCHS": "three",
        "LABEL_ORDER": ["A", "A"],
        "SCHEDULER": "cosinus",
        "TARGET_FS": 0,
        "PREPROCESS_LIMIT": -5,
    }.items():
        with pytest.raises(ConfigError, match=name):
            resolve(**{name: value})


def test_every_parameter_has_a_help_text() -> None:
    assert parameter_help().keys() == parameter_types().keys()


def test_sources_name_where_each_value_came_from() -> None:
    config = resolve({"ECGNB_LR": "0.01", "ECGNB_SEED": "3"}, SEED=4, PROFILE="medium")
    sources = config.sources()
    assert sources.keys() == config.parameters().keys()
    expected = {
        "PROFILE": "notebook",
        "SEED": "notebook",
        "LR": "environment",
        "EPOCHS": "profile",
        "MODEL": "default",
    }
    assert {name: sources[name] for name in expected} == expected
    assert config.key() == resolve(SEED=4, LR=0.01, PROFILE="medium").key()
    assert config == resolve(SEED=4, LR=0.01, PROFILE="medium")


def test_variables_of_tests_and_tools_are_no_parameters() -> None:
    names = ("HOME", "PROGRESS", "TEST_DATA", "TEST_NEW", "CINC2017", "KERAS_PYTHON")
    assert resolve({f"ECGNB_{name}": "x" for name in names}) == resolve()


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


@pytest.mark.parametrize(
    "value", [Path("data"), np.array(["I"]), np.float64(3), {"I"}, range(3)], ids=repr
)
def test_a_mistyped_name_is_refused_whatever_its_value(value: Any) -> None:
    parameters = parameters_from_namespace({"DATASET_DIRS": value})
    with pytest.raises(ConfigError, match=r"'DATASET_DIRS'.*Did you mean DATASET_DIR"):
        RunConfig.from_parameters(parameters, {})


def test_a_parameter_with_a_value_of_any_type_is_used_or_refused() -> None:
    """Were it dropped, another data set would be trained than the one named."""
    used = parameters_from_namespace({"DATASET_DIR": Path("recordings")})
    assert RunConfig.from_parameters(used, {}).data.dataset_dir == "recordings"
    refused = parameters_from_namespace({"DATASET_DIR": object()})
    with pytest.raises(ConfigError, match=r"DATASET_DIR is <object .* type str"):
        RunConfig.from_parameters(refused, {})


def test_the_text_none_is_not_set() -> None:
    config = resolve({"ECGNB_EPOCHS": "None"}, LEADS="None", EPOCHS=None)
    assert config == resolve()
