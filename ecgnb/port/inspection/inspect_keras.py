"""Show the contents of a Keras file, also of a model that cannot be ported."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

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
    shape_text,
    trainable_numbers,
)
from ecgnb.port.inspection.lenient import (
    bind_leniently,
    parse_leniently,
    read_leniently,
)
from ecgnb.port.inspection.shapes import Shape, shapes_of
from ecgnb.port.network import size_texts
from ecgnb.port.ported import major
from ecgnb.port.reading.graph import parse_graph, walk
from ecgnb.port.reading.keras_file import read_keras
from ecgnb.port.reading.keras_weights import ListedWeights

#: What no Keras file contains; a wrong guess raises no error, the answers are wrong.
NOT_IN_FILE = (
    "sampling rate, units, order of the leads, filters before the model, class names"
)
_ACTIVATIONS = {
    "softmax": "softmax (probabilities that sum to 1)",
    "sigmoid": "sigmoid (a probability each)",
    "linear": "linear (perhaps logits)",
}


@dataclass(frozen=True, eq=False, repr=False)
class KerasInspection:
    """Contents of a Keras file; shown as text by `str`, as a table in a notebook.

    Attributes:
        file: its name.
        container: the kind of file, in words.
        keras_version: of the Keras that wrote it; empty when it is not in the file.
        table: one row per call of a layer: "layer" (``@1`` for a second call,
            ``outer/inner`` in nested models), "class", "options", "output" (shape in
            Keras' layout without the batch, "?" where free), "parameters",
            "activation", "takes" (layers whose outputs it takes) and "problem" (why it
            cannot be ported; else empty).
        inputs: name and shape of each input, the batch first, ``None`` where free.
        outputs: name, shape without the batch (``None``: unknown) and last activation
            of each output.
        parameters: numbers in all layers, those that are not trained included; ``None``
            when the weights are unknown.
        trainable: numbers that training changes.
        problems: why the model cannot be ported, one line each; empty when it can.
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
        """Facts about the whole model by name: the input contract, as far as the file
        contains it.
        """
        version = self.keras_version or "(no version in the file)"
        inputs = [f"{name}: {_input(shape)}" for name, shape in self.inputs.items()]
        outputs = []
        for name, shape, activation in self.outputs:
            outputs.append(f"{name}: {_output(shape, activation)}")
        parameters = "unknown"
        if self.parameters is not None:
            parameters = f"{self.parameters:,}, {self.trainable:,} of them trainable"
        portable = "yes"
        if self.problems:
            portable = "\n".join(["no:", *self.problems])
        absent = f"{NOT_IN_FILE}. Ask whoever trained the model."
        contracts = list(filter(self._fits, KNOWN_CONTRACTS))
        if contracts:
            absent += (
                f" The shapes would fit these known contracts: {', '.join(contracts)}."
            )
        return {
            "file": f"{self.file}: {self.container}",
            "written by": f"Keras {version}",
            "input": "\n".join(inputs) or "unknown",
            "output": "\n".join(outputs) or "unknown",
            "parameters": parameters,
            "can be ported": portable,
            "not in the file": absent,
        }

    def _fits(self, contract: str) -> bool:
        """Whether the shapes are those of a known contract."""
        ranks = [len(shape) for shape in self.inputs.values()]
        if ranks != [3] or len(self.outputs) != 1:
            return False
        _, shape, activation = self.outputs[0]
        if not shape:
            return False
        sizes = tuple(size or 0 for size in shape)  # no contract has 0 classes
        try:
            KNOWN_CONTRACTS[contract].check(self.inputs, [sizes], [activation])
        except ConfigError:
            return False
        return True

    def __str__(self) -> str:
        width = terminal_width()
        table = text_table(self.short_table, width)
        return f"{self._facts_text(width)}\n\n{table}"

    def _facts_text(self, width: int = 88) -> str:
        facts = {}
        for name, text in self.summary.items():
            lines = text.split("\n")
            facts[name] = "\n".join(map(printable, lines))
        return text_facts(facts, width)

    @property
    def short_table(self) -> pd.DataFrame:
        """The table for display, without what other columns, the summary or the row
        above show.
        """
        table = self.table
        above = table["layer"].shift(fill_value="")
        columns = {
            "layer": table["layer"],
            "what": (table["class"] + " " + table["options"]).str.strip(),
            "output": table["output"],
            "params": table["parameters"],
            # In a chain each layer takes the one above.
            "takes": table["takes"].where(table["takes"] != above, ""),
            "ported": table["problem"].where(table["problem"] == "", "no"),
        }
        table = pd.DataFrame(columns)
        is_filled = table.astype(str) != ""
        return table.loc[:, is_filled.any()]

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = escape(self._facts_text())
        return f"<pre>{facts}</pre>{html_table(self.short_table)}"


def inspect_keras(
    path: str | Path, weights: str | Path | None = None
) -> KerasInspection:
    """Inspect a Keras file without porting it; what is damaged or unknown is shown,
    not refused.

    Args:
        path: ``.keras``, whole ``.h5``, or ``model.json`` (its weights beside it, or
            in ``weights``).
        weights: the weights that belong to a ``model.json``.

    Raises:
        PortError: there is no such file, or it holds no readable Keras model.
    """
    file, problem = read_leniently(Path(path), weights)
    facts = (file.path.name, file.container, file.keras_version)
    graph = parse_leniently(file)
    if isinstance(graph, str):
        return KerasInspection(*facts, list(filter(None, [graph, problem])))
    problem = problem or bind_leniently(file, graph)
    shapes = shapes_of(graph)
    problems = problems_in(graph)
    all_arrays = None if problem else isinstance(file.weights, ListedWeights)
    rows = list(layer_rows(graph, shapes, problems, all_arrays))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.astype({"parameters": "Int64"})  # integers that may be missing
    counted = table["parameters"].notna().all()
    return KerasInspection(
        *facts,
        list(filter(None, [problem, *problems, shapes.problem])),
        table=table,
        inputs=shapes.inputs,
        outputs=outputs_of(graph, shapes),
        parameters=int(table["parameters"].sum()) if counted else None,
        trainable=trainable_numbers(graph) if counted else None,
    )


def dump_weights(
    path: str | Path, layer: str, out: str | Path, *, weights: str | Path | None = None
) -> Path:
    """Write the arrays of one layer, as Keras has them, to an ``.npz`` file that needs
    no pickle.

    Args:
        path: see `inspect_keras`.
        layer: its name; ``outer/inner`` for one of a nested model.
        out: the file. Its names are those of Keras, such as "kernel"; those of a
            wrapped layer have a prefix ("forward_layer/kernel").
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
            f"There is no layer {layer!r} in {file.path.name}.{hint} "
            "`ecgnb port inspect` lists them."
        )
    arrays = dict(arrays_of(layers[layer]))  # by name, as Keras has them
    if not arrays:
        raise PortError(f"The {layers[layer]} has no weights in {file.path.name}.")
    with atomic_write(out) as temporary, temporary.open("wb") as target:
        np.savez(target, allow_pickle=False, **arrays)
    return Path(out)


def _input(shape: Shape) -> str:
    """Return an input's shape in words where its rank is that of a signal."""
    if len(shape) != 3:
        return f"{shape_text(shape[1:])} numbers"
    samples, leads = size_texts(shape[1:], free="any number of")
    plural = "" if leads == "1" else "s"
    return f"{samples} samples x {leads} lead{plural} (batch, time, lead)"


def _output(shape: Shape | None, activation: str) -> str:
    if shape is None:
        return "unknown, since it comes after what cannot be ported"
    return f"{shape_text(shape)}, {_ACTIVATIONS.get(activation, activation)}"
