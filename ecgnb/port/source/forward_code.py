"""The graph of a port as the statements of a ``forward`` method."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from ecgnb.core.errors import PortError
from ecgnb.port.network import CHANNELS_FIRST, size_texts
from ecgnb.port.source.dependencies import Dependencies
from ecgnb.port.source.expressions import arguments_of, call, commented, index

_INDENT = "        "


@dataclass
class ForwardCode:
    """Writes nodes as statements; a variable is used again as soon as its tensor is no
    longer needed.

    Attributes:
        dependencies: names functions and collects what the file needs.
        names: the variable that holds each node's tensor, at first those of the inputs.
        reserved: names that no new variable may have.
    """

    dependencies: Dependencies
    names: dict[fx.Node, str]
    reserved: set[str]

    def write(self, nodes: list[fx.Node], outputs: list[fx.Node]) -> list[str]:
        """Return one statement per node.

        Args:
            nodes: in the order of their execution.
            outputs: nodes whose tensors are needed at the end.
        """
        last_use: dict[fx.Node, fx.Node | None] = {}
        for node in nodes:
            last_use.update(dict.fromkeys(node.all_input_nodes, node))
        last_use.update(dict.fromkeys(outputs))  # used after the last statement
        lines = []
        for node in nodes:
            head, arguments = self._expression(node)
            for source in node.all_input_nodes:
                if last_use[source] is node:
                    self.names[source] = ""  # the node itself may take it
            self.names[node] = self._free_name()
            line = f"{self.names[node]} = {head}"
            if arguments is None:
                line = _INDENT + line
            else:
                line = call(line, arguments, _INDENT)
            lines.append(commented(line, _shape_comment(node)))
        return lines

    def _free_name(self) -> str:
        """Return the first of x, y, z, x4, x5, ... that holds nothing."""
        used = {*self.names.values(), *self.reserved}
        numbered = map("x{}".format, itertools.count(4))
        return next(x for x in itertools.chain("xyz", numbered) if x not in used)

    def _expression(self, node: fx.Node) -> tuple[str, list[str] | None]:
        """Return the called function and its arguments; ``None`` for an operator's."""
        arguments = arguments_of(node.args, node.kwargs, self._name_of)
        if node.op == "call_module":
            return f"self.{node.target}", arguments
        if node.op == "call_method":
            tensor, *arguments = arguments
            return f"{tensor}.{node.target}", arguments
        if node.op != "call_function":
            raise PortError(
                f"A node of the kind {node.op} ({node.target}) cannot be written as "
                "source code."
            )
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if target is operator.getitem:  # x[:, 0] reads better than getitem(x, ...)
            item = index(node.args[1], self._name_of)
            return f"{arguments[0]}[{item}]", None
        return self.dependencies.name(target), arguments

    def _name_of(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self.names[value]
        return self.dependencies.name(value)


def _shape_comment(node: fx.Node) -> str:
    """Return the shape where it changes, and whether time and channels are swapped."""
    shape = node.meta.get("shape")
    shape_before = None
    if node.all_input_nodes:
        shape_before = node.all_input_nodes[0].meta.get("shape")
    if shape is None or shape == shape_before:
        return ""  # most layers keep the shape
    is_transpose = node.op == "call_method" and node.target == "transpose"
    if not is_transpose or not shape_before:
        return shape_text(shape)
    order = "time before channels"
    if node.meta["layout"] == CHANNELS_FIRST:
        order = "channels before time"
    before, after = shape_text(shape_before), shape_text(shape)
    return f"{before} -> {after}, {order}"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Return a shape with the batch as a letter.

    >>> shape_text((1, 2000, 12)), shape_text((10, 4)), shape_text((None, None, 12))
    ('[B, 2000, 12]', '[10 B, 4]', '[B, any, 12]')
    """
    if not shape:
        return "one number"
    n_samples, *sizes = shape
    # A layer may fold time into the batch: 10 rows for one sample.
    batch = "B" if n_samples in (1, None) else f"{n_samples} B"
    text = ", ".join([batch, *size_texts(sizes)])
    return f"[{text}]"
