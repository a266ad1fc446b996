"""`inspect_checkpoint`: what is in a checkpoint, and what loading it the ordinary way
would have run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.checkpoints.constructors import Inert, brief
from ecgnb.checkpoints.container import Checkpoint, open_checkpoint
from ecgnb.checkpoints.globals_table import ARRAYS, effect_of, refused_by_weights_only
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.core.console import (
    html_table,
    printable,
    terminal_width,
    text_facts,
    text_table,
)

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {
    "zip": "PyTorch checkpoint (zip container, PyTorch 1.6 or newer)",
    "legacy": "PyTorch checkpoint (container of PyTorch before 1.6)",
    "safetensors": "safetensors (holds no code by design)",
}
#: Where trainers keep the configuration of a model.
_CONFIGURATIONS = (("cfg", "model"), ("args",), ("hyper_parameters",))
_MOST_SHOWN, _MOST_LISTED = 10, 8

Row = dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """What a checkpoint holds; shown as text by `str`, as tables in a notebook.

    Values are counted and not shown, but for the configuration and the top level:
    trainers keep scores and labels of patients beside the weights.

    Attributes:
        file: its name.
        kind: which container it is, in words.
        size: of the file (bytes).
        verdict: whether loading it the ordinary way would have run anything, in words.
        dangerous: whether it would have run what attacks are made of.
        refused: what ``torch.load(weights_only=True)`` would refuse in it; empty where
            it accepts the file.
        configured_by: where the configuration stands, such as ``"cfg.model"``; empty
            where there is none.
        config: keys and values of the configuration, as text.
        rows: of the tables ``contents``, ``tensors`` and ``globals``.
        known_as: what it is to somebody who loads it, such as "ECG-FM, pretrained";
            empty where nobody has said.
    """

    file: str
    kind: str
    size: int
    verdict: str
    dangerous: bool
    refused: list[str]
    configured_by: str
    config: dict[str, str]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    known_as: str = ""

    @property
    def contents(self) -> pd.DataFrame:
        """A row a top-level entry: "entry" and what it "holds"."""
        return _table(self.rows["contents"], ["entry", "holds"])

    @property
    def tensors(self) -> pd.DataFrame:
        """A row a tensor: "where" (what holds it), "name", "dtype", "shape",
        "parameters" and "bytes".
        """
        return _table(
            self.rows["tensors"],
            ["where", "name", "dtype", "shape", "parameters", "bytes"],
        )

    @property
    def globals(self) -> pd.DataFrame:
        """A row a thing that is named: "global", "named" and "called" (how often),
        "ordinary loading" (its effect).
        """
        return _table(
            self.rows["globals"], ["global", "named", "called", "ordinary loading"]
        )

    @property
    def places(self) -> pd.DataFrame:
        """Tensors by what holds them, ``*`` for a number: "where", "tensors",
        "parameters", "MB" and "dtypes".
        """
        found: dict[str, list[Row]] = {}
        for row in self.rows["tensors"]:
            found.setdefault(_pattern(row["where"]), []).append(row)
        rows = [
            {
                "where": where or "(top level)",
                "tensors": len(held),
                "parameters": sum(row["parameters"] for row in held),
                "MB": sum(row["bytes"] for row in held) / 1e6,
                "dtypes": ", ".join(dict.fromkeys(row["dtype"] for row in held)),
            }
            for where, held in found.items()
        ]
        return _table(rows, ["where", "tensors", "parameters", "MB", "dtypes"])

    @property
    def summary(self) -> dict[str, str]:
        """The facts about the whole file by name."""
        accepts = (
            f"no, it would refuse {_first(self.refused, _MOST_LISTED)}"
            if self.refused
            else "yes"
        )
        return {
            "file": f"{self.file}: {self.kind}, {self.size / 1e6:.1f} MB",
            **({"model": self.known_as} if self.known_as else {}),
            "verdict": self.verdict,
            **(
                {}
                if self.kind == _KINDS["safetensors"]
                else {"weights_only=True": accepts}
            ),
        }

    def text(self, all_tensors: bool = False) -> str:
        """Return everything as text for a terminal, with the first tensors or with
        all.
        """
        width = terminal_width()
        parts = [
            text_facts(
                {name: printable(fact) for name, fact in self.summary.items()}, width
            )
        ]
        for heading, table in self._tables(all_tensors):
            parts.append(f"{heading}\n{text_table(table, width)}")
        return "\n\n".join(parts)

    def _tables(self, all_tensors: bool) -> Iterable[tuple[str, pd.DataFrame]]:
        tensors = self.tensors
        count = len(tensors) if all_tensors else _MOST_SHOWN
        first = (
            "Tensors"
            if len(tensors) <= count
            else f"The first {count} of {len(tensors):,} tensors"
        )
        config = [{"key": key, "value": value} for key, value in self.config.items()]
        tables = (
            ("Contents", self.contents),
            ("Where the tensors are", self.places),
            (first, tensors.head(count)),
            (f"Configuration ({self.configured_by})", _table(config, ["key", "value"])),
            ("What the pickle names", self.globals),
        )
        return ((heading, table) for heading, table in tables if len(table))

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(printable(fact))}</td></tr>"
            for name, fact in self.summary.items()
        )
        tables = "".join(
            f"<p><b>{escape(name)}</b></p>{html_table(table)}"
            for name, table in self._tables(False)
        )
        return f"<table>{facts}</table>{tables}"


def inspect_checkpoint(path: str | Path) -> Inspection:
    """Look into a checkpoint of any trainer; nothing in it is executed, and no tensor
    is read.

    Args:
        path: a file that `torch.save` or safetensors wrote.

    Raises:
        CheckpointError: the file is missing, damaged, cut, or something else, which is
            told.
    """
    checkpoint = open_checkpoint(path)
    effects = {name: effect_of(name, use) for name, use in checkpoint.globals.items()}
    configured_by, config = _configuration(checkpoint.contents)
    globals_rows = [
        {
            "global": _named(name),
            "named": use.named,
            "called": use.called,
            "ordinary loading": effects[name].text,
        }
        for name, use in checkpoint.globals.items()
    ]
    dangerous = any(effect.dangerous for effect in effects.values())
    foreign = [_named(name) for name, effect in effects.items() if effect.foreign]
    runs = [
        call
        for effect in effects.values()
        if effect.dangerous == dangerous
        for call in effect.runs
    ]
    return Inspection(
        file=checkpoint.path.name,
        kind=_KINDS[checkpoint.kind],
        size=checkpoint.size,
        verdict=_verdict(_what_is_held(checkpoint), dangerous, runs, foreign),
        dangerous=dangerous,
        refused=refused_by_weights_only(checkpoint.globals, checkpoint.opcodes),
        configured_by=configured_by,
        config=config,
        rows={
            "contents": _entries(checkpoint),
            "tensors": _tensor_rows(checkpoint),
            "globals": globals_rows,
        },
    )


def _what_is_held(checkpoint: Checkpoint) -> str:
    if checkpoint.kind == "safetensors":
        return "tensors"
    return (
        "tensors, NumPy arrays and plain values"
        if ARRAYS & set(checkpoint.globals)
        else "tensors and plain values"
    )


def _verdict(
    held: str, dangerous: bool, runs: Sequence[str], foreign: Sequence[str]
) -> str:
    if dangerous:
        return (
            f"DANGEROUS: loading it the ordinary way would have run {_first(runs)}. Nothing of it ran here. Load it "
            "with nothing else, and tell whoever offers it."
        )
    if runs:
        return (
            f"holds more than tensors: loading it the ordinary way would have run {_first(runs)}, which is as safe as "
            "whoever wrote the file. Nothing of it ran here."
        )
    if foreign:
        return f"would have imported {_first(foreign)} to hold values, and run no more. Nothing was imported here."
    return f"{held} only: nothing in it would have run"


def _first(names: Sequence[str], most: int = 3) -> str:
    return "; ".join(names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )


def _entries(checkpoint: Checkpoint) -> list[Row]:
    contents = checkpoint.contents
    if isinstance(contents, dict) and "" not in checkpoint.state_dicts():
        return [
            {"entry": _named(key), "holds": _holds(value)}
            for key, value in contents.items()
        ]
    return [{"entry": "(the whole file)", "holds": _holds(contents)}]


def _holds(value: Any) -> str:
    """Say in words what an entry holds, by counting."""
    if isinstance(value, TensorRef):
        return f"a tensor {_dtype(value)} {_shape(value)}"
    if value is None or not isinstance(value, dict | list | tuple | set | Inert):
        return "nothing" if value is None else brief(value)
    things = [item for _, _, item in walk(value)]
    tensors = [item for item in things if isinstance(item, TensorRef)]
    arrays = sum(
        isinstance(item, Inert) and item.name.endswith("multiarray._reconstruct")
        for item in things
    )
    kind = (
        f"an object {_named(value.name)}"
        if isinstance(value, Inert)
        else f"{type(value).__name__} of {len(value)}"
    )
    parameters, size = (
        sum(ref.numel for ref in tensors),
        sum(ref.n_bytes for ref in tensors),
    )
    counted = (
        [
            f"{_plural(len(tensors), 'tensor')} ({parameters:,} numbers, {size / 1e6:.1f} MB)"
        ]
        if tensors
        else []
    )
    counted += [_plural(arrays, "NumPy array")] if arrays else []
    return kind + (f" with {' and '.join(counted)}" if counted else "")


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)


def _tensor_rows(checkpoint: Checkpoint) -> list[Row]:
    return [
        {
            "where": printable(where),
            "name": _named(name),
            "dtype": _dtype(item),
            "shape": _shape(item),
            "parameters": item.numel,
            "bytes": item.n_bytes,
        }
        for where, name, item in walk(checkpoint.contents)
        if isinstance(item, TensorRef)
    ]


def _configuration(contents: Any) -> tuple[str, dict[str, str]]:
    """Return where a trainer keeps the model's configuration, and its keys and values
    as text.
    """
    for keys in _CONFIGURATIONS:
        found = contents
        for key in keys:
            found = plain(found.get(key)) if isinstance(found, dict) else None
        if isinstance(found, dict) and found:
            return ".".join(keys), {
                _named(key): _value(value) for key, value in found.items()
            }
    return "", {}


def _value(value: Any) -> str:
    """Return a value of a configuration as text, short lists in full."""
    if isinstance(value, list | tuple) and len(value) <= _MOST_LISTED:
        return f"[{', '.join(map(brief, value))}]"
    return brief(value)


def _named(key: Any) -> str:
    """Return a key or name as text, without control characters."""
    return brief(Inert(key)) if isinstance(key, str) else brief(key)


def _pattern(where: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in where.split("."))


def _dtype(ref: TensorRef) -> str:
    return str(ref.dtype).removeprefix("torch.")


def _shape(ref: TensorRef) -> str:
    return "x".join(map(str, ref.shape)) or "scalar"


def _table(rows: list[Row], columns: list[str]) -> pd.DataFrame:
    import pandas as pd  # opening a checkpoint needs no pandas

    return pd.DataFrame(rows, columns=columns)
