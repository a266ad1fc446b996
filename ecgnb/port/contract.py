"""`Contract`: what a recording must be before a ported network may see it, and what the
answer means.

A Keras file tells a shape and nothing more. Rate, units, order of the leads, filters
and class names are known only to those who trained the model; a port carries them, so
that nobody has to guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json
from ecgnb.core.registry import did_you_mean
from ecgnb.data.config import PrepareConfig
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead

#: Units a model may have been trained in, as a factor of millivolts.
UNITS = {"mV": 1.0, "uV": 1e3, "V": 1e-3}


@dataclass(frozen=True)
class Contract:
    """What a model was trained with.

    Attributes:
        fs: samples a second.
        n_samples: samples a lead.
        leads: names in the order of the channels.
        classes: names in the order of the outputs.
        units: of the signal: "mV", "uV" or "V".
        filters: done to the whole recording before it is cropped
            (`ecgnb.data.signal.recording_filters`).
        crop: keep the middle of a longer recording ("center") or its beginning
            ("start"); shorter ones are padded with zeros by the same rule.
        task: "multiclass" (a softmax) or "multilabel" (a sigmoid each).
        source: who trained the model, where it is published, its licence.
    """

    fs: float
    n_samples: int
    leads: tuple[str, ...]
    classes: tuple[str, ...]
    units: Literal["mV", "uV", "V"] = "mV"
    filters: tuple[Any, ...] = ()
    crop: Literal["center", "start"] = "center"
    task: Literal["multiclass", "multilabel"] = "multiclass"
    source: str = ""

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise ConfigError(
                f"The contract's units are {self.units!r}; choose one of {', '.join(UNITS)}."
            )
        if self.task not in ("multiclass", "multilabel"):
            raise ConfigError(
                f"The contract's task is {self.task!r}; choose 'multiclass' or 'multilabel'."
            )
        for name, values in {"leads": self.leads, "classes": self.classes}.items():
            if isinstance(values, str) or not all(
                isinstance(value, str) for value in values
            ):
                raise ConfigError(
                    f"The contract's {name} are {values!r}; give a list of names."
                )
            if not values or len(set(values)) != len(values):
                raise ConfigError(
                    f"The contract's {name} are {list(values)!r}; name each once, in the model's order."
                )
        try:
            self.prepare()
        except (
            TypeError,
            ValueError,
            AttributeError,
        ) as error:  # text for a number, a number for a list
            raise ConfigError(f"The contract cannot be read: {error}") from error

    def prepare(self) -> PrepareConfig:
        """Return how a recording is brought into the form that the model was trained
        with.

        Raises:
            ConfigError: rate, length or filters are out of range.
        """
        leads = tuple(normalise_lead(lead) for lead in self.leads)
        return PrepareConfig(
            self.fs, self.n_samples, leads, crop=self.crop, filters=self.filters
        )

    def check(
        self,
        inputs: Mapping[str, tuple[int | None, ...]],
        outputs: Sequence[tuple[int, ...]],
        activations: Sequence[str],
    ) -> None:
        """Refuse a contract that contradicts the model.

        Args:
            inputs: name and shape of each input in Keras' layout, the batch first.
            outputs: shape of each output without the batch.
            activations: of each output, such as ``"softmax"``.

        Raises:
            ConfigError: naming what the contract says and what the model takes or
                gives.
        """
        name, shape = next(iter(inputs.items()))
        said = {"n_samples": self.n_samples, "leads": len(self.leads)}
        if len(shape) == 3:
            for what, size in zip(said, shape[1:], strict=True):
                if size not in (None, said[what]):
                    raise ConfigError(
                        f"The contract says {said[what]} {what.replace('n_', '')}; the model's input {name!r} has "
                        f"{size} (its shape is {list(shape)}: batch, time, leads)."
                    )
        if outputs[0] and outputs[0][-1] != len(self.classes):
            raise ConfigError(
                f"The contract names {len(self.classes)} classes ({', '.join(self.classes)}); the model's first "
                f"output has {outputs[0][-1]}."
            )
        other = {"softmax": "multilabel", "sigmoid": "multiclass"}.get(activations[0])
        if self.task == other:
            right = "multiclass" if other == "multilabel" else "multilabel"
            raise ConfigError(
                f"The contract's task is {self.task!r}; the model's first output ends in a {activations[0]}, which is "
                f"{right!r}. Another task would give other probabilities."
            )


def contract_of(
    given: Contract | Mapping[str, Any] | str | Path | None,
) -> Contract | None:
    """Return a contract of itself, of its fields, of a JSON file that holds them, or of
    the name of a known one.

    Raises:
        ConfigError: the name or a field is unknown, a field is missing, or the file
            cannot be read.
    """
    if given is None or isinstance(given, Contract):
        return given
    if isinstance(given, str | Path) and Path(given).suffix == ".json":
        given = _read_fields(Path(given))
    if isinstance(given, str | Path):
        given = str(given)
        if given in KNOWN_CONTRACTS:
            return KNOWN_CONTRACTS[given]
        hint = did_you_mean(given, list(KNOWN_CONTRACTS))
        raise ConfigError(
            f"There is no contract called {given!r}.{hint} Known: {', '.join(KNOWN_CONTRACTS)}."
        )
    known = {field.name: field for field in dataclasses.fields(Contract)}
    strangers = [name for name in given if name not in known]
    missing = [
        n
        for n, field in known.items()
        if field.default is dataclasses.MISSING and n not in given
    ]
    if strangers or missing:
        what = (
            f"has no field {strangers[0]!r}"
            if strangers
            else f"lacks {', '.join(missing)}"
        )
        raise ConfigError(f"The contract {what}; its fields are {', '.join(known)}.")
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    return Contract(**values)


def _read_fields(file: Path) -> dict[str, Any]:
    try:
        return dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{file} holds no contract: {error}. Write a JSON object of fs, leads and so on."
        ) from error


def _pathology(finding: str) -> Contract:
    return Contract(
        fs=500.0,
        n_samples=2000,
        leads=STANDARD_12,
        classes=(f"no {finding}", finding),
        filters=(
            {"name": "iir_notch", "frequency": 0.05, "q": 0.05},
            {"name": "isoelectric", "window": 0.2, "step": 0.1},
            {"name": "iir_notch", "frequency": 50.0, "q": 0.05},
            {"name": "butterworth", "high": 40.0, "order": 2},
        ),
        crop="start",
        source=(
            "N. Gumpfer et al., AIME 2024, repository nilsgumpfer/AIME2024, CC BY 4.0 (attribution needed). No file "
            "tells the order of the classes. For AVB it was measured: on 344 recordings of PTB-XL, 6 of them with AV "
            "block, output 1 as the finding has AUROC 0.988, output 0 has 0.012. The other three come from the same "
            "training code and are taken to have the same order; measure it before you rely on it."
        ),
    )


#: Contracts of published models. The pathology models see the first 4 s after four
#: filters of the whole recording.
KNOWN_CONTRACTS: dict[str, Contract] = {
    **{
        f"pathology_{finding.lower()}": _pathology(finding)
        for finding in ("AVB", "ISCH", "LBBB", "RBBB")
    },
    "ribeiro": Contract(
        fs=400.0,
        n_samples=4096,
        leads=STANDARD_12,
        classes=("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"),
        task="multilabel",
        source=(
            "A. H. Ribeiro et al., Nature Communications 11:1760, 2020, repository antonior92/automatic-ecg-diagnosis, "
            "MIT. Millivolts: its README's 1e-4 V times 1000. Lead order of the repository's README; copies of the "
            "weights circulate with a page that says aVL, aVF, aVR."
        ),
    ),
}


def contract_facts(contract: Contract) -> dict[str, str]:
    """Return what a recording must be, name to words.

    >>> contract_facts(Contract(500.0, 2000, ("I", "II"), ("AF", "no AF")))["rate"]
    '500 Hz'
    """
    crop = (
        "the middle of a longer recording"
        if contract.crop == "center"
        else "the beginning of a longer recording"
    )
    facts = {
        "rate": f"{contract.fs:g} Hz",
        "samples": f"{contract.n_samples} ({contract.n_samples / contract.fs:g} s), {crop}",
        "leads": ", ".join(contract.leads),
        "units": contract.units,
        "filters": "; ".join(map(_filter, contract.filters)) or "none",
        "classes": f"{', '.join(contract.classes)} ({contract.task})",
        "source": contract.source,
    }
    return {name: text for name, text in facts.items() if text}


def _filter(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        return str(spec)
    options = ", ".join(
        f"{name} {value}" for name, value in spec.items() if name != "name"
    )
    return f"{spec['name']} ({options})" if options else str(spec["name"])
