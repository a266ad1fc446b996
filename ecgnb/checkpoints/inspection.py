"""Inspect a checkpoint: contents, tensors, and the code that loading would have run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.checkpoints.container import Checkpoint, open_checkpoint
from ecgnb.checkpoints.globals_table import (
    ARRAYS,
    Effect,
    effect_of,
    refused_by_weights_only,
)
from ecgnb.checkpoints.inert import Inert, brief, brief_name
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.core.console import (
    html_table,
    printable,
    terminal_width,
    text_facts,
    text_table,
)
from ecgnb.core.errors import first_few

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {
    "zip": "PyTorch checkpoint (zip container, PyTorch 1.6 or newer)",
    "legacy": "PyTorch checkpoint (container of PyTorch before 1.6)",
    "safetensors": "safetensors (holds no code by design)",
}
#: Where trainers keep the configuration of a model: fairseq, others, Lightning.
_CONFIGURATIONS = (("cfg", "model"), ("args",), ("hyper_parameters",))
_INDEX = r"(?<![^.])\d+(?![^.])"  # a key of digits between the dots of a path
_MAX_TENSORS = 10  # rows of tensors shown
_MAX_ITEMS = 8  # items of a list shown


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """Contents of a checkpoint; shown as text by `str`, as tables in a notebook.

    Values are counted and not shown, except for the configuration and the top level:
    trainers keep scores and labels of patients beside the weights.

    Attributes:
        file: its name.
        kind: which container it is, in words.
        size: of the file (bytes).
        verdict: whether loading it the ordinary way would have run anything, in words.
        dangerous: whether it would have run calls that attacks are made of.
        refused: what ``torch.load(weights_only=True)`` would refuse in it; empty where
            it accepts the file.
        configured_by: path of the configuration, such as ``"cfg.model"``; empty where
            there is none.
        config: keys and values of the configuration, as text.
        rows: of the tables ``contents``, ``tensors`` and ``globals``, by column.
        known_as: name of the model, such as "ECG-FM, pretrained", or empty.
    """

    file: str
    kind: str
    size: int
    verdict: str
    dangerous: bool
    refused: list[str]
    configured_by: str
    config: dict[str, str]
    rows: dict[str, list[tuple[Any, ...]]]
    known_as: str = ""

    @property
    def contents(self) -> pd.DataFrame:
        """One row per top-level entry: "entry" and what it "holds"."""
        return _table(self.rows["contents"], ["entry", "holds"])

    @property
    def tensors(self) -> pd.DataFrame:
        """One row per tensor.

        Columns "where" (path of its container), "name", "dtype", "shape", "parameters"
        and "bytes".
        """
        columns = ["where", "name", "dtype", "shape", "parameters", "bytes"]
        return _table(self.rows["tensors"], columns)

    @property
    def globals(self) -> pd.DataFrame:
        """One row per global of the pickle.

        Columns "global", "named" and "called" (how often), "ordinary loading" (its
        effect).
        """
        columns = ["global", "named", "called", "ordinary loading"]
        return _table(self.rows["globals"], columns)

    @property
    def containers(self) -> pd.DataFrame:
        """Tensors by the path of their container, ``*`` for a number.

        Columns "where", "tensors", "parameters", "MB" and "dtypes".
        """
        tensors = self.tensors
        pattern = tensors["where"].str.replace(_INDEX, "*", regex=True)
        rows = []
        for where, group in tensors.groupby(pattern, sort=False):
            parameters, n_bytes = group["parameters"].sum(), group["bytes"].sum()
            dtypes = ", ".join(group["dtype"].unique())
            row = (where or "(top level)", len(group), parameters, n_bytes / 1e6)
            rows.append((*row, dtypes))
        return _table(rows, ["where", "tensors", "parameters", "MB", "dtypes"])

    @property
    def summary(self) -> dict[str, str]:
        """Facts about the whole file by name, as printable text."""
        megabytes = self.size / 1e6
        facts = {"file": f"{self.file}: {self.kind}, {megabytes:.1f} MB"}
        if self.known_as:
            facts["model"] = self.known_as
        facts["verdict"] = self.verdict
        if self.kind != _KINDS["safetensors"]:
            facts["weights_only=True"] = "yes"
            if self.refused:
                refused = first_few(self.refused, _MAX_ITEMS)
                facts["weights_only=True"] = f"no, it would refuse {refused}"
        return {name: printable(fact) for name, fact in facts.items()}

    def text(self, all_tensors: bool = False) -> str:
        """Return everything as text for a terminal, with the first tensors or all."""
        width = terminal_width()
        parts = [text_facts(self.summary, width)]
        for heading, table in self._tables(all_tensors):
            parts.append(f"{heading}\n{text_table(table, width)}")
        return "\n\n".join(parts)

    def _tables(self, all_tensors: bool = False) -> list[tuple[str, pd.DataFrame]]:
        """Return the tables that are not empty, with their headings."""
        tensors, heading = self.tensors, "Tensors"
        if len(tensors) > _MAX_TENSORS and not all_tensors:
            heading = f"The first {_MAX_TENSORS} of {len(tensors):,} tensors"
            tensors = tensors.head(_MAX_TENSORS)  # a checkpoint may have thousands
        config = _table(list(self.config.items()), ["key", "value"])
        tables = (
            ("Contents", self.contents),
            ("Where the tensors are", self.containers),
            (heading, tensors),
            (f"Configuration ({self.configured_by})", config),
            ("Globals of the pickle", self.globals),
        )
        return [(heading, table) for heading, table in tables if len(table)]

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        left = "style='text-align:left'"
        html = "<table>"
        for name, fact in self.summary.items():
            html += f"<tr><th {left}>{escape(name)}</th>"
            html += f"<td {left}>{escape(fact)}</td></tr>"
        html += "</table>"
        for heading, table in self._tables():
            html += f"<p><b>{escape(heading)}</b></p>{html_table(table)}"
        return html


def inspect_checkpoint(path: str | Path) -> Inspection:
    """Inspect a checkpoint of any trainer; nothing is executed, no tensor is read.

    Args:
        path: a file that `torch.save` or safetensors wrote.

    Raises:
        CheckpointError: the file is missing, damaged, cut, or of another kind, which is
            named.
    """
    checkpoint = open_checkpoint(path)
    effects = {}
    globals_rows = []
    for name, use in checkpoint.globals.items():
        effects[name] = effect_of(name, use)
        counts = (use.named, use.called)
        globals_rows.append((brief_name(name), *counts, effects[name].text))
    dangerous = any(effect.dangerous for effect in effects.values())
    configured_by, config = _configuration(checkpoint.contents)
    return Inspection(
        file=checkpoint.path.name,
        kind=_KINDS[checkpoint.kind],
        size=checkpoint.size,
        verdict=_verdict(checkpoint, dangerous, effects),
        dangerous=dangerous,
        refused=refused_by_weights_only(checkpoint.globals, checkpoint.opcodes),
        configured_by=configured_by,
        config=config,
        rows={
            "contents": _content_rows(checkpoint),
            "tensors": _tensor_rows(checkpoint),
            "globals": globals_rows,
        },
    )


def _verdict(
    checkpoint: Checkpoint, dangerous: bool, effects: Mapping[str, Effect]
) -> str:
    runs: list[str] = []
    for effect in effects.values():
        if effect.dangerous == dangerous:
            runs.extend(effect.runs)  # only the worst ones are named
    foreign = [brief_name(name) for name, effect in effects.items() if effect.foreign]
    if dangerous:
        return (
            "DANGEROUS: loading it the ordinary way would have run "
            f"{first_few(runs, 3)}. Nothing of it ran here. Load it with no other "
            "program, and warn whoever offers it."
        )
    if runs:
        return (
            "holds more than tensors: loading it the ordinary way would have run "
            f"{first_few(runs, 3)}, which is as safe as whoever wrote the file. "
            "Nothing of it ran here."
        )
    if foreign:
        return (
            f"would have imported {first_few(foreign, 3)} to hold values, and run no "
            "more. Nothing was imported here."
        )
    contents = "tensors and plain values"
    if checkpoint.kind == "safetensors":
        contents = "tensors"
    elif ARRAYS & set(checkpoint.globals):
        contents = "tensors, NumPy arrays and plain values"
    return f"{contents} only: nothing in it would have run"


def _content_rows(checkpoint: Checkpoint) -> list[tuple[Any, ...]]:
    contents = checkpoint.contents
    if not isinstance(contents, dict) or "" in checkpoint.state_dicts():
        contents = {"(the whole file)": contents}
    return [(brief_name(key), _describe(value)) for key, value in contents.items()]


def _describe(value: Any) -> str:
    """Describe the contents of an entry, by counting."""
    if isinstance(value, TensorRef):
        return f"a tensor {_dtype(value)} {_shape(value)}"
    if value is None:
        return "nothing"
    if not isinstance(value, dict | list | tuple | set | Inert):
        return brief(value)
    n_tensors = numel = n_bytes = n_arrays = 0
    for _, _, item in walk(value):
        if isinstance(item, TensorRef):
            n_tensors += 1
            numel += item.numel
            n_bytes += item.n_bytes
        elif isinstance(item, Inert):
            # one call per array
            n_arrays += item.name.endswith("multiarray._reconstruct")
    counts = []
    if n_tensors:
        count = _count(n_tensors, "tensor")
        megabytes = n_bytes / 1e6
        counts.append(f"{count} ({numel:,} numbers, {megabytes:.1f} MB)")
    if n_arrays:
        counts.append(_count(n_arrays, "NumPy array"))
    if isinstance(value, Inert):
        kind = f"an object {brief_name(value.name)}"
    else:
        kind = f"{type(value).__name__} of {len(value)}"
    return f"{kind} with {' and '.join(counts)}" if counts else kind


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def _tensor_rows(checkpoint: Checkpoint) -> list[tuple[Any, ...]]:
    rows = []
    for path, name, ref in walk(checkpoint.contents):
        if isinstance(ref, TensorRef):
            sizes = (_dtype(ref), _shape(ref), ref.numel, ref.n_bytes)
            rows.append((printable(path), brief_name(name), *sizes))
    return rows


def _configuration(contents: Any) -> tuple[str, dict[str, str]]:
    """Return the path of the model's configuration, and its items as text."""
    for keys in _CONFIGURATIONS:
        config = contents
        for key in keys:
            config = plain(config.get(key)) if isinstance(config, dict) else None
        if isinstance(config, dict) and config:
            values = {brief_name(key): _value(value) for key, value in config.items()}
            return ".".join(keys), values
    return "", {}


def _value(value: Any) -> str:
    """Return a value of a configuration as text, short lists with all items."""
    if isinstance(value, list | tuple) and len(value) <= _MAX_ITEMS:
        return f"[{', '.join(map(brief, value))}]"
    return brief(value)


def _dtype(ref: TensorRef) -> str:
    return str(ref.dtype).removeprefix("torch.")  # float32


def _shape(ref: TensorRef) -> str:
    return "x".join(map(str, ref.shape)) or "scalar"


def _table(rows: Sequence[Any], columns: list[str]) -> pd.DataFrame:
    import pandas as pd  # opening a checkpoint needs no pandas

    return pd.DataFrame(rows, columns=columns)
