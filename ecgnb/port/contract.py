"""Contract of a ported model: how a recording must be prepared for it, and the classes
of its outputs.

A Keras file has a shape and nothing more. Rate, units, order of the leads, filters and
class names are known only to those who trained the model; a port carries them, so that
nobody has to guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json
from ecgnb.core.registry import did_you_mean
from ecgnb.data.config import PrepareConfig
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead
from ecgnb.port.reading.graph import fits

Units = Literal["mV", "uV", "V"]
Task = Literal["multiclass", "multilabel"]

#: Units a model may have been trained in, as a factor of millivolts.
UNITS: dict[Units, float] = {"mV": 1.0, "uV": 1e3, "V": 1e-3}

#: Tasks that end in these activations.
_TASKS = {"softmax": "multiclass", "sigmoid": "multilabel"}


@dataclass(frozen=True)
class Contract:
    """What a model was trained with.

    Attributes:
        fs: samples per second.
        n_samples: samples per lead.
        leads: names in the order of the channels.
        classes: names in the order of the outputs.
        units: of the signal: "mV", "uV" or "V".
        filters: of the whole recording, before it is cropped
            (`ecgnb.data.signal.recording_filters`).
        crop: keep the middle of a longer recording ("center") or its beginning
            ("start"); shorter ones are padded with zeros by the same rule.
        task: "multiclass" (a softmax) or "multilabel" (one sigmoid per class).
        source: who trained the model, where it is published, its licence.
    """

    fs: float
    n_samples: int
    leads: tuple[str, ...]
    classes: tuple[str, ...]
    units: Units = "mV"
    filters: tuple[Any, ...] = ()
    crop: Literal["center", "start"] = "center"
    task: Task = "multiclass"
    source: str = ""

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise ConfigError(
                f"The contract's units are {self.units!r}; choose one of "
                f"{', '.join(UNITS)}."
            )
        if self.task not in get_args(Task):
            raise ConfigError(
                f"The contract's task is {self.task!r}; choose 'multiclass' or "
                "'multilabel'."
            )
        _check_names("leads", self.leads)
        _check_names("classes", self.classes)
        try:
            self.prepare()
        # text for a number, a number for a list
        except (TypeError, ValueError, AttributeError) as error:
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
            ConfigError: naming both values.
        """
        name, shape = next(iter(inputs.items()))
        lengths = (self.n_samples, len(self.leads))  # [T, C], as Keras has it
        if len(shape) == 3 and not fits(shape[1:], lengths):
            raise ConfigError(
                f"The contract is for {lengths[0]} samples of {lengths[1]} leads; the "
                f"model's input {name!r} has the shape {list(shape)}: batch, time, "
                "leads."
            )
        if outputs[0] and outputs[0][-1] != len(self.classes):
            raise ConfigError(
                f"The contract names {len(self.classes)} classes "
                f"({', '.join(self.classes)}); the model's first output has "
                f"{outputs[0][-1]}."
            )
        task = _TASKS.get(activations[0], self.task)  # linear: logits of either task
        if task != self.task:
            raise ConfigError(
                f"The contract's task is {self.task!r}; the model's first output ends "
                f"in a {activations[0]}, which is {task!r}. Another task would give "
                "other probabilities."
            )


def _check_names(field: str, names: Any) -> None:
    # A text is a sequence of texts, too: "I" would be one lead, "II" two.
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"The contract's {field} are {names!r}; give a list of names."
        )
    if not names or len(set(names)) != len(names):
        raise ConfigError(
            f"The contract's {field} are {list(names)!r}; name each once, in the "
            "model's order."
        )


def contract_of(
    contract: Contract | Mapping[str, Any] | str | Path,
) -> Contract:
    """Return a contract, from its fields, a JSON file of them, or the name of a known
    one.

    Raises:
        ConfigError: the name or a field is unknown, a field is missing, or the file
            cannot be read.
    """
    if isinstance(contract, Contract):
        return contract
    if isinstance(contract, str | Path):  # a file, or a known name
        name = str(contract)
        if name in KNOWN_CONTRACTS:
            return KNOWN_CONTRACTS[name]
        if Path(name).suffix != ".json":
            hint = did_you_mean(name, KNOWN_CONTRACTS)
            raise ConfigError(
                f"There is no contract called {name!r}.{hint} Known: "
                f"{', '.join(KNOWN_CONTRACTS)}."
            )
        contract = _read_fields(Path(name))
    known = [field.name for field in fields(Contract)]
    needed = [field.name for field in fields(Contract) if field.default is MISSING]
    unknown = [name for name in contract if name not in known]
    missing = [name for name in needed if name not in contract]
    if unknown or missing:
        problem = f"lacks {', '.join(missing)}"
        if unknown:
            problem = f"has no field {unknown[0]!r}"
        raise ConfigError(f"The contract {problem}; its fields are {', '.join(known)}.")
    values = dict(contract)
    for name, value in values.items():
        if isinstance(value, list):  # as JSON has it; the dataclass has tuples
            values[name] = tuple(value)
    return Contract(**values)


def _read_fields(file: Path) -> dict[str, Any]:
    try:
        return dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{file} holds no contract: {error}. Write a JSON object of fs, leads and "
            "so on."
        ) from error


def _pathology(finding: str) -> Contract:
    return Contract(
        fs=500.0,
        n_samples=2000,
        leads=STANDARD_12,
        classes=(f"no {finding}", finding),
        filters=(
            {"name": "iir_notch", "frequency": 0.05, "q": 0.05},  # baseline wander
            {"name": "isoelectric", "window": 0.2, "step": 0.1},  # seconds
            {"name": "iir_notch", "frequency": 50.0, "q": 0.05},  # mains
            {"name": "butterworth", "high": 40.0, "order": 2},  # Hz, lowpass
        ),
        crop="start",
        source=(
            "N. Gumpfer et al., AIME 2024, repository nilsgumpfer/AIME2024, CC BY 4.0 "
            "(attribution needed). The order of the classes is in no file. For AVB it "
            "was measured: on 344 recordings of PTB-XL, 6 of them with AV block, "
            "output 1 as the finding has AUROC 0.988, output 0 has 0.012. The other "
            "three come from the same training code and are taken to have the same "
            "order; measure it before you rely on it."
        ),
    )


#: Contracts of published models. The pathology models see the first 4 s after four
#: filters of the whole recording.
KNOWN_CONTRACTS: dict[str, Contract] = {
    "pathology_avb": _pathology("AVB"),
    "pathology_isch": _pathology("ISCH"),
    "pathology_lbbb": _pathology("LBBB"),
    "pathology_rbbb": _pathology("RBBB"),
    "ribeiro": Contract(
        fs=400.0,
        n_samples=4096,
        leads=STANDARD_12,
        classes=("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"),
        task="multilabel",
        source=(
            "A. H. Ribeiro et al., Nature Communications 11:1760, 2020, repository "
            "antonior92/automatic-ecg-diagnosis, MIT. Millivolts: its README's 1e-4 V "
            "times 1000. Lead order of the repository's README; copies of the weights "
            "circulate with a page that says aVL, aVF, aVR."
        ),
    ),
}


def contract_facts(contract: Contract) -> dict[str, str]:
    """Return the fields of a contract as text, without empty ones.

    >>> contract_facts(Contract(500.0, 2000, ("I", "II"), ("AF", "no AF")))["rate"]
    '500 Hz'
    """
    kept = "middle" if contract.crop == "center" else "beginning"
    seconds = contract.n_samples / contract.fs
    facts = {
        "rate": f"{contract.fs:g} Hz",
        "samples": (
            f"{contract.n_samples} ({seconds:g} s), the {kept} of a longer recording"
        ),
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
    options = [f"{name} {spec[name]}" for name in spec if name != "name"]
    name = str(spec["name"])
    return f"{name} ({', '.join(options)})" if options else name
