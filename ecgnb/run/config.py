"""`RunConfig`: all parameters of a run, composed from the dataclasses that stand beside
what they configure.

A parameter is the upper-case name of a field: ``target_fs`` of `PrepareConfig` is
``TARGET_FS`` in the notebook, on the command line and (as ``ECGNB_TARGET_FS``) in the
environment.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import fingerprint
from ecgnb.core.registry import nearest
from ecgnb.data.config import DataConfig, PrepareConfig, SplitConfig
from ecgnb.evaluation.config import EvaluationConfig
from ecgnb.training.config import ADDED_LATER, ModelConfig, TrainConfig, TransformConfig

#: What each profile sets; everything else keeps its default.
PROFILES: dict[str, dict[str, Any]] = {
    # One epoch over so few recordings is hardly more than a dozen usual steps: smaller
    # and larger ones learn something.
    "smoke": {
        "PREPROCESS_LIMIT": 256,
        "EPOCHS": 1,
        "BATCH_SIZE_CPU": 8,
        "BATCH_SIZE_GPU": 8,
        "LR": 3e-3,
    },
    "medium": {"PREPROCESS_LIMIT": 5000, "EPOCHS": 15},
    "full": {"PREPROCESS_LIMIT": 0, "EPOCHS": 50},
}

#: Parameters that change how fast a run is or how it is judged, not what is trained;
#: they do not rename it.
NOT_IN_KEY = ("N_JOBS", "CHECKPOINT_EVERY_STEPS", "BOOTSTRAP_RESAMPLES", "CONFIDENCE")

#: Parameters that came later, at the value that means "as before": older runs keep
#: their names.
AS_BEFORE = {
    "RESAMPLING": "filter",
    **{name.upper(): value for name, value in ADDED_LATER.items()},
}

#: Parameters read from the environment by other parts of the house, not by the
#: configuration.
RESERVED_ENVIRONMENT = (
    "ECGNB_HOME",
    "ECGNB_PROGRESS",
    "ECGNB_TEST_DATA",
    "ECGNB_TEST_GOLDEN",
    "ECGNB_TEST_CASES",
    "ECGNB_CINC2017",
    "ECGNB_KERAS_PYTHON",
)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run gives."""

    profile: str = "smoke"
    data: DataConfig = field(default_factory=DataConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    transforms: TransformConfig = field(default_factory=TransformConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> RunConfig:
        """Resolve a configuration: defaults < profile < ``ECGNB_*`` environment <
        ``parameters``.

        Args:
            parameters: upper-case names to values; ``None`` means "not given".
            environment: variables to read in place of ``os.environ``.

        Raises:
            ConfigError: for an unknown name (with the nearest names) or a value of a
                wrong type.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        from_environment = _from_environment(
            os.environ if environment is None else environment
        )
        profile = given.get("PROFILE", from_environment.get("PROFILE", cls.profile))
        if profile not in PROFILES:
            raise ConfigError(
                f"PROFILE is {profile!r}; choose one of {', '.join(PROFILES)}."
            )
        merged = {**PROFILES[profile], **from_environment, **given, "PROFILE": profile}
        return _compose(cls, merged)

    @classmethod
    def from_resolved(cls, resolved: Mapping[str, Any]) -> RunConfig:
        """Rebuild a configuration from what `parameters` gave, without profile or
        environment.
        """
        return _compose(cls, dict(resolved))

    def parameters(self) -> dict[str, Any]:
        """Return every parameter and its resolved value, in the order of the
        sections.
        """
        flat: dict[str, Any] = {}
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            if dataclasses.is_dataclass(value):
                flat |= {
                    each.name.upper(): getattr(value, each.name)
                    for each in dataclasses.fields(value)
                }
            else:
                flat[part.name.upper()] = value
        return flat

    def key(self) -> str:
        """Return the hash that names the run: equal results, equal key; a parameter
        that came later, none at first.
        """
        told = self.parameters().items()
        return fingerprint(
            {
                n: v
                for n, v in told
                if n not in NOT_IN_KEY and (n, v) not in AS_BEFORE.items()
            },
            8,
        )


def parameter_types() -> dict[str, Any]:
    """Return the name and the type of every parameter."""
    return {name: hint for _, hints in _sections() for name, hint in hints.items()}


def parameters_from_namespace(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the parameters out of a notebook's ``globals()``: upper-case names that hold
    plain values.

    Tables, modules and functions under an upper-case name are the user's own business
    and are left alone; a plain value under an unknown name is kept, so that a mistyped
    parameter is refused rather than ignored.
    """
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    return {
        name: value
        for name, value in namespace.items()
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", name) and isinstance(value, plain)
    }


def _sections() -> list[tuple[str, dict[str, Any]]]:
    """List the sections of `RunConfig` ("" for its own plain fields) with their
    parameters' types.
    """
    hints = typing.get_type_hints(RunConfig)
    own = {
        name.upper(): hint
        for name, hint in hints.items()
        if not dataclasses.is_dataclass(hint)
    }
    nested = [
        (name, {key.upper(): kind for key, kind in typing.get_type_hints(hint).items()})
        for name, hint in hints.items()
        if dataclasses.is_dataclass(hint)
    ]
    return [("", own), *nested]


def _compose(cls: type[RunConfig], values: dict[str, Any]) -> RunConfig:
    known = parameter_types()
    for name in values:
        if name not in known:
            near = nearest(name, list(known))
            hint = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else "`ecgnb parameters` lists them all."
            )
            raise ConfigError(
                f"There is no parameter {name!r} (value {values[name]!r}). {hint}"
            )
    sections = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for section, hints in _sections():
        converted = {
            n.lower(): convert(n, values[n], hint)
            for n, hint in hints.items()
            if n in values
        }
        if section:
            arguments[section] = sections[section](**converted)
        else:
            arguments |= converted
    return cls(**arguments)


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Take ``ECGNB_*`` variables as parameters; the reserved ones belong to other parts
    of the house.
    """
    return {
        name.removeprefix("ECGNB_"): value
        for name, value in environment.items()
        if name.startswith("ECGNB_") and name not in RESERVED_ENVIRONMENT
    }


def convert(name: str, value: Any, hint: Any) -> Any:
    """Convert ``value`` to the type of parameter ``name`` where its meaning is certain.

    Text is read as the type asks ("true"/"false" as a bool, ``a,b`` as a list, JSON as
    a dictionary), since papermill's ``-p`` and the environment give text; everything
    else must have the right type already.

    Raises:
        ConfigError: naming the parameter, the value and what was expected.
    """
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(
                f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}."
            )
        return value
    if origin in (tuple, list):
        return _convert_sequence(name, value, hint)
    if origin is dict or hint is dict:
        return _convert_dict(name, value)
    if origin in (types.UnionType, typing.Union):
        return convert(
            name,
            value,
            next(kind for kind in typing.get_args(hint) if kind is not type(None)),
        )
    return _convert_scalar(name, value, hint)


def _convert_scalar(name: str, value: Any, hint: Any) -> Any:
    if hint is bool:
        return _convert_bool(name, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if hint is int and (
            isinstance(value, str) or (number and float(value).is_integer())
        ):
            return int(value)
        if hint is float and (isinstance(value, str) or number):
            value = float(value)
            if math.isfinite(value):
                return value
    except ValueError:
        pass
    if hint is str and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    wanted = (
        "a finite number"
        if hint is float and isinstance(value, float)
        else f"a value of type {getattr(hint, '__name__', hint)}"
    )
    raise ConfigError(
        f"{name} is {value!r} ({type(value).__name__}); it needs {wanted}."
    )


def _convert_bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ConfigError(f"{name} is {value!r}; it needs True or False.")


def _convert_sequence(name: str, value: Any, hint: Any) -> tuple[Any, ...]:
    if isinstance(value, str) and value.strip().startswith("["):
        value = _parse_json(name, value)
    elif isinstance(value, str):
        value = [part.strip() for part in re.split(r"[,|]", value) if part.strip()]
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"{name} is {value!r}; it needs a list such as ['a', 'b'] or the text 'a,b'."
        )
    kind = typing.get_args(hint)[0]
    return tuple(
        value
        if kind is Any
        else (convert(f"an item of {name}", item, kind) for item in value)
    )


def _convert_dict(name: str, value: Any) -> dict[str, Any]:
    value = _parse_json(name, value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ConfigError(
            f"{name} is {value!r}; it needs a dictionary, or JSON text such as '{{\"width\": 64}}'."
        )
    return dict(value)


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name} is {text!r}, which is no valid JSON: {error}."
        ) from error
