"""Run configuration: all parameters of a run, their resolution and their source.

A parameter is the upper-case name of a field: ``target_fs`` of `PrepareConfig` is
``TARGET_FS`` in the notebook, on the command line and (as ``ECGNB_TARGET_FS``) in the
environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import fingerprint
from ecgnb.core.parameters import convert, field_help, field_types, plain_value
from ecgnb.core.registry import nearest
from ecgnb.data.config import DataConfig, PrepareConfig, SplitConfig
from ecgnb.evaluation.config import EvaluationConfig
from ecgnb.training.config import ModelConfig, TrainConfig, TransformConfig

if TYPE_CHECKING:
    import pandas as pd

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

#: Where a value may come from; a source overrides those after it.
SOURCES = ("notebook", "environment", "profile", "default")

#: Parameters that change how fast a run is or how it is judged, not what is trained;
#: they are not part of its name.
NOT_IN_KEY = (
    "N_JOBS",
    "CHECKPOINT_EVERY_STEPS",
    "CALLBACKS",
    "BOOTSTRAP_RESAMPLES",
    "CONFIDENCE",
    "DECISION_CRITERION",
    "PRIOR_CORRECTION",
)

#: Environment variables that are no parameters, besides ``ECGNB_TEST_*``.
RESERVED_ENVIRONMENT = (
    "ECGNB_HOME",
    "ECGNB_NOTEBOOK",
    "ECGNB_PROGRESS",
    "ECGNB_CINC2017",
    "ECGNB_KERAS_PYTHON",
)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the results of a run.

    Attributes:
        profile: size of the run: "smoke" for a test in minutes, "medium" for a first
            result, "full" for the final training.
        data: which recordings and labels.
        prepare: the form of the stored signals.
        split: training, validation and test.
        transforms: preprocessing and augmentation.
        model: the architecture.
        training: the training loop.
        evaluation: metrics of the test split.
    """

    profile: Literal["smoke", "medium", "full"] = "smoke"
    data: DataConfig = field(default_factory=DataConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    transforms: TransformConfig = field(default_factory=TransformConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # Of the parameters that are set; equal values are equal, wherever they came from.
    _sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> RunConfig:
        """Resolve a configuration: defaults < profile < ``ECGNB_*`` environment <
        ``parameters``.

        Args:
            parameters: upper-case names to values; ``None`` means "not set".
            environment: variables to read in place of ``os.environ``.

        Raises:
            ConfigError: a name is unknown (the message has the nearest names) or a
                value has a wrong type.
        """
        variables = _environment_parameters(
            os.environ if environment is None else environment
        )
        notebook = {
            name: value
            for name, value in parameters.items()
            if plain_value(value) is not None
        }
        profile = {**variables, **notebook}.get("PROFILE", cls.profile)
        profile = convert("PROFILE", profile, parameter_types()["PROFILE"])
        layers: dict[str, Mapping[str, Any]] = {
            "profile": PROFILES[profile],
            "environment": variables,
            "notebook": notebook,
        }
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for source, layer in layers.items():  # a later one overrides
            values |= layer
            sources |= dict.fromkeys(layer, source)
        return cls.from_resolved(values, sources)

    @classmethod
    def from_resolved(
        cls, parameters: Mapping[str, Any], sources: Mapping[str, str] | None = None
    ) -> RunConfig:
        """Build a configuration from parameters alone, without profile or environment.

        Args:
            parameters: upper-case names to values, such as `parameters` returns.
            sources: where values came from, such as `sources` returns.
        """
        refuse_unknown(
            parameters,
            parameter_types(),
            "There is",
            "`ecgnb parameters` lists them all.",
        )
        arguments: dict[str, Any] = {}
        for section, kind in _SECTIONS.items():
            values = {}
            for name, hint in field_types(kind).items():
                parameter = name.upper()
                if parameter in parameters:
                    values[name] = convert(parameter, parameters[parameter], hint)
            arguments[section] = kind(**values)
        if "PROFILE" in parameters:  # the only parameter outside a section
            hint = parameter_types()["PROFILE"]
            arguments["profile"] = convert("PROFILE", parameters["PROFILE"], hint)
        return cls(**arguments, _sources=dict(sources or {}))

    def parameters(self) -> dict[str, Any]:
        """Return every parameter and its resolved value, in the order of the
        sections.
        """
        values: dict[str, Any] = {"PROFILE": self.profile}
        for section, kind in _SECTIONS.items():
            config = getattr(self, section)
            values |= {
                name.upper(): getattr(config, name) for name in field_types(kind)
            }
        return values

    def sources(self) -> dict[str, str]:
        """Return where the value of each parameter came from: "default", "profile",
        "environment" or "notebook" (also papermill and the command line).
        """
        return {name: self._sources.get(name, "default") for name in self.parameters()}

    def table(self) -> pd.DataFrame:
        """Return one row per parameter: ``parameter, value, source, help``; defaults
        come last.
        """
        import pandas as pd

        helps, sources = parameter_help(), self.sources()
        rows = [
            (name, value, sources[name], helps[name])
            for name, value in self.parameters().items()
        ]
        rows.sort(key=lambda row: SOURCES.index(row[2]))
        columns = ["parameter", "value", "source", "help"]
        return pd.DataFrame(rows, columns=columns, dtype=object)

    def key(self) -> str:
        """Return the hash that names the run: equal results, equal key."""
        values = self.parameters()
        for name in NOT_IN_KEY:
            del values[name]
        return fingerprint(values, 8)


#: The dataclass of each section of `RunConfig`.
_SECTIONS: dict[str, Any] = {
    name: kind
    for name, kind in field_types(RunConfig).items()
    if dataclasses.is_dataclass(kind)
}


def parameter_types() -> dict[str, Any]:
    """Return the type of every parameter by its upper-case name."""
    return _of_all_fields(field_types)


def parameter_help() -> dict[str, str]:
    """Return one sentence about every parameter, from the docstrings of its section."""
    return _of_all_fields(field_help)


def _of_all_fields(describe: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    facts = {"PROFILE": describe(RunConfig)["profile"]}
    for kind in _SECTIONS.values():
        facts |= {name.upper(): fact for name, fact in describe(kind).items()}
    return facts


def refuse_unknown(
    parameters: Mapping[str, Any],
    known: Mapping[str, Any],
    subject: str,
    otherwise: str,
) -> None:
    """Raise a `ConfigError` for a parameter that is not among the ``known`` ones.

    Args:
        parameters: names to values.
        known: the names that there are.
        subject: what lacks the parameter, such as "There is" or "x.ipynb has".
        otherwise: advice where no known name is like the unknown one.
    """
    for name, value in parameters.items():
        if name not in known:
            near = " or ".join(nearest(name, known))
            hint = f"Did you mean {near}?" if near else otherwise
            raise ConfigError(
                f"{subject} no parameter {name!r} (value {value!r}). {hint}"
            )


def parameters_from_namespace(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Select the parameters in a notebook's ``globals()``: the upper-case names of
    parameters, whatever their value, and those of values that a parameter could have.

    So a mistyped name and a value of a wrong type are refused later, in place of being
    ignored. Tables, modules, functions and other objects under other names are left
    out.
    """
    known = parameter_types()
    parameters = {}
    for name, value in namespace.items():
        is_constant = re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
        if is_constant and (name in known or _could_be_parameter(value)):
            parameters[name] = value
    return parameters


def _could_be_parameter(value: Any) -> bool:
    kinds = (str, int, float, bool, list, tuple, dict, set, frozenset, range)
    if value is None or isinstance(value, (*kinds, os.PathLike)):
        return True
    # NumPy's arrays and scalars, which may be here without NumPy being imported yet.
    return type(value).__module__ == "numpy" and hasattr(value, "tolist")


def _environment_parameters(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ``ECGNB_*`` variables that are parameters, without the prefix."""
    return {
        name.removeprefix("ECGNB_"): value
        for name, value in environment.items()
        if name.startswith("ECGNB_")
        and plain_value(value) is not None
        and not name.startswith("ECGNB_TEST_")
        and name not in RESERVED_ENVIRONMENT
    }
