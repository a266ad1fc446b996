"""`inspect_keras`: what a Keras file tells about its model, portable or not, and what
it does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.console import (
    html_table,
    printable,
    terminal_width,
    text_facts,
    text_table,
)
from ecgnb.core.errors import ConfigError, PortError
from ecgnb.core.files import atomic_write
from ecgnb.core.registry import did_you_mean
from ecgnb.port.build import problems_in
from ecgnb.port.contract import KNOWN_CONTRACTS
from ecgnb.port.inspection.layer_table import (
    COLUMNS,
    arrays_of,
    layer_rows,
    outputs_of,
    shape_words,
    trainable_numbers,
)
from ecgnb.port.inspection.lenient import (
    bind_leniently,
    parse_leniently,
    read_leniently,
)
from ecgnb.port.inspection.shapes import Shape, shapes_of
from ecgnb.port.ported import major
from ecgnb.port.reading.graph import parse_graph, walk
from ecgnb.port.reading.keras_file import read_keras
from ecgnb.port.reading.keras_weights import ListedWeights

#: What no Keras file tells; a wrong guess fails nowhere, the answers are only wrong.
NOT_TOLD = (
    "sampling rate, units, order of the leads, filters before the model, class names"
)
_MEANING = {
    "softmax": "softmax (probabilities that sum to 1)",
    "sigmoid": "sigmoid (a probability each)",
    "linear": "linear (perhaps logits)",
}


@dataclass(frozen=True, eq=False, repr=False)
class KerasInspection:
    """What a Keras file tells; shown as text by `str`, as a table in a notebook.

    Attributes:
        file: its name.
        container: which kind of file it is, in words.
        keras_version: of the Keras that wrote it; empty when the file does not tell.
        table: a row a call of a layer: "layer" (``@1`` for a second call,
            ``outer/inner`` in nested models), "class", "options", "output" (shape in
            Keras' layout without the batch, "?" where free), "parameters",
            "activation", "takes" (where its inputs come from) and "problem" (why it
            cannot be ported; else empty).
        inputs: name and shape of each input, the batch first, ``None`` where free.
        outputs: name, shape without the batch (``None``: unknown) and last activation
            of each output.
        parameters: numbers in all layers, those that are not trained included; ``None``
            when the weights are unknown.
        trainable: numbers that training changes.
        problems: why the model cannot be ported, a line each; empty when it can.
    """

    file: str
    container: str
    keras_version: str
    problems: list[str]
    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: list[tuple[str, Shape | None, str]] = field(default_factory=list)
    parameters: int | None = None
    trainable: int | None = None

    @property
    def summary(self) -> dict[str, str]:
        """The facts about the whole model by name: the input contract, as far as a file
        can tell it.
        """
        counted = (
            "unknown"
            if self.parameters is None
            else f"{self.parameters:,}, {self.trainable:,} of them trainable"
        )
        return {
            "file": f"{self.file}: {self.container}",
            "written by": f"Keras {self.keras_version or '(no version in the file)'}",
            "input": "\n".join(
                f"{name}: {_said(shape)}" for name, shape in self.inputs.items()
            )
            or "unknown",
            "output": "\n".join(
                f"{name}: {_output(shape, last)}" for name, shape, last in self.outputs
            )
            or "unknown",
            "parameters": counted,
            "can be ported": "no:\n" + "\n".join(self.problems)
            if self.problems
            else "yes",
            "not in the file": NOT_TOLD
            + ". Ask whoever trained the model."
            + self._like(),
        }

    def _like(self) -> str:
        """Name the known contracts that the shapes would fit."""
        names = [
            name for name, contract in KNOWN_CONTRACTS.items() if self._fits(contract)
        ]
        return (
            f" The shapes would fit these known contracts: {', '.join(names)}."
            if names
            else ""
        )

    def _fits(self, contract: Any) -> bool:
        shapes = [shape for _, shape, _ in self.outputs]
        if (
            len(self.inputs) != 1
            or len(shapes) != 1
            or not shapes[0]
            or len(next(iter(self.inputs.values()))) != 3
        ):
            return False
        try:
            contract.check(self.inputs, shapes, [last for _, _, last in self.outputs])
        except ConfigError:
            return False
        return True

    def __str__(self) -> str:
        width = terminal_width()
        facts = {
            name: "\n".join(map(printable, text.split("\n")))
            for name, text in self.summary.items()
        }
        return f"{text_facts(facts, width)}\n\n{text_table(self.short_table, width)}"

    @property
    def short_table(self) -> pd.DataFrame:
        """The table for people, without what the options or the summary say, or the row
        above.
        """
        table = self.table
        above = table["layer"].shift(fill_value="")
        return pd.DataFrame(
            {
                "layer": table["layer"],
                "what": (table["class"] + " " + table["options"]).str.strip(),
                "output": table["output"],
                "params": table["parameters"],
                "takes": table["takes"].where(table["takes"] != above, ""),
                "ported": ["no" if problem else "" for problem in table["problem"]],
            }
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text).replace(chr(10), '<br>')}</td></tr>"
            for name, text in self.summary.items()
        )
        table = self.short_table.loc[:, lambda shown: (shown.astype(str) != "").any()]
        return f"<table>{facts}</table>{html_table(table)}"


def inspect_keras(
    path: str | Path, weights: str | Path | None = None
) -> KerasInspection:
    """Look into a Keras file without porting it; what is damaged or unknown is told,
    not refused.

    Args:
        path: ``.keras``, whole ``.h5``, or ``model.json`` (its weights beside it, or
            given).
        weights: the weights that belong to a ``model.json``.

    Raises:
        PortError: there is no such file, or it holds no readable Keras model.
    """
    file, problem = read_leniently(Path(path), weights)
    facts = (file.path.name, file.container, file.keras_version)
    graph = parse_leniently(file)
    if isinstance(graph, str):
        return KerasInspection(*facts, [each for each in (graph, problem) if each])
    problem = problem or bind_leniently(file, graph)
    shapes = shapes_of(graph)
    problems = problems_in(graph)
    counted = None if problem else isinstance(file.weights, ListedWeights)
    rows = list(layer_rows(graph, shapes, problems, counted))
    total = (
        None
        if any(row["parameters"] is None for row in rows)
        else sum(row["parameters"] for row in rows)
    )
    return KerasInspection(
        *facts,
        [each for each in (problem, *problems, shapes.problem) if each],
        table=pd.DataFrame(rows, columns=COLUMNS).astype({"parameters": "Int64"}),
        inputs=shapes.inputs,
        outputs=outputs_of(graph, shapes),
        parameters=total,
        trainable=None if total is None else trainable_numbers(graph),
    )


def dump_weights(
    path: str | Path, layer: str, out: str | Path, *, weights: str | Path | None = None
) -> Path:
    """Write the arrays of one layer, as Keras has them, to an ``.npz`` file that needs
    no pickle.

    Args:
        path: see `inspect_keras`.
        layer: its name; ``outer/inner`` for one of a nested model.
        out: the file. Its names are Keras' own, such as "kernel"; those of a wrapped
            layer follow its place ("forward_layer/kernel").
        weights: see `inspect_keras`.

    Raises:
        PortError: the weights cannot be read, or the layer is unknown or has none.
    """
    file = read_keras(path, weights)
    graph = parse_graph(file.config, major(file.keras_version))
    problem = bind_leniently(file, graph)
    if problem:
        raise PortError(problem)
    layers = dict(walk(graph.layers))
    if layer not in layers:
        hint = did_you_mean(layer, list(layers))
        raise PortError(
            f"There is no layer {layer!r} in {file.path.name}.{hint} `ecgnb port inspect` lists them."
        )
    arrays = dict(arrays_of(layers[layer]))
    if not arrays:
        raise PortError(f"The {layers[layer]} has no weights in {file.path.name}.")
    with atomic_write(out) as temporary, temporary.open("wb") as target:
        np.savez(target, allow_pickle=False, **arrays)
    return Path(out)


def _said(shape: Shape) -> str:
    """Say an input's shape in words where its rank is that of a signal."""
    sizes = ["any number of" if size is None else f"{size}" for size in shape[1:]]
    if len(sizes) == 2:
        return f"{sizes[0]} samples x {sizes[1]} {'lead' if shape[2] == 1 else 'leads'} (batch, time, lead)"
    return f"{shape_words(shape[1:])} numbers"


def _output(shape: Shape | None, last: str) -> str:
    if shape is None:
        return "unknown, since it comes after what cannot be ported"
    return f"{shape_words(shape)}, {_MEANING.get(last, last)}"
