"""The graph of a port as the statements of a ``forward`` method."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

from torch import fx

from ecgnb.core.errors import PortError
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.source.dependencies import Dependencies
from ecgnb.port.source.expressions import call, commented, index, literal

_INDENT = "        "


class ForwardCode:
    """Writes nodes as statements; a variable is used again as soon as its tensor is no
    longer needed.

    Args:
        dependencies: names functions and collects what the file needs.
        names: variables of the nodes that exist before the first statement.
        reserved: names that no variable may have.
    """

    def __init__(
        self, dependencies: Dependencies, names: dict[fx.Node, str], reserved: set[str]
    ) -> None:
        self._dependencies = dependencies
        self._names = dict(names)
        self._reserved = set(names.values()) | reserved

    def name(self, node: fx.Node) -> str:
        """Return the variable that holds a node's tensor."""
        return self._names[node]

    def write(self, nodes: list[fx.Node], outputs: list[fx.Node]) -> list[str]:
        """Return one statement per node.

        Args:
            nodes: in the order of their execution.
            outputs: nodes whose tensors are needed at the end.
        """
        last_use: dict[fx.Node, fx.Node | None] = {}
        for node in nodes:
            last_use.update(dict.fromkeys(node.all_input_nodes, node))
        last_use.update(dict.fromkeys(outputs))
        lines = []
        for node in nodes:
            head, arguments = self._expression(node)
            for source in node.all_input_nodes:
                if last_use[source] is node:
                    self._names[source] = ""  # the node itself may take it
            used = {*self._names.values(), *self._reserved}
            self._names[node] = next(name for name in _variables() if name not in used)
            line = f"{self._names[node]} = {head}"
            if arguments is None:
                line = _INDENT + line
            else:
                line = call(line, arguments, _INDENT)
            lines.append(commented(line, _shape_comment(node)))
        return lines

    def _expression(self, node: fx.Node) -> tuple[str, list[str] | None]:
        """Return the called function and its arguments; ``None`` for an operator's."""
        arguments = [literal(value, self._name_of) for value in node.args]
        for name, value in node.kwargs.items():
            arguments.append(f"{name}={literal(value, self._name_of)}")
        if node.op == "call_module":
            return f"self.{node.target}", arguments
        if node.op == "call_method":
            return f"{arguments[0]}.{node.target}", arguments[1:]
        if node.op != "call_function":
            raise PortError(
                f"A node of the kind {node.op} ({node.target}) cannot be written as "
                "source code."
            )
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if target is operator.getitem:
            return f"{arguments[0]}[{index(node.args[1], self._name_of)}]", None
        return self._dependencies.name(target), arguments

    def _name_of(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self._names[value]
        return self._dependencies.name(value)


def _shape_comment(node: fx.Node) -> str:
    """Return the shape where it changes, and whether time and channels are swapped."""
    sources = node.all_input_nodes
    shape = node.meta.get("shape")
    shape_before = sources[0].meta.get("shape") if sources else None
    if shape is None or shape == shape_before:
        return ""
    if node.op != "call_method" or node.target != "transpose" or not shape_before:
        return shape_text(shape)
    order = "time before channels"
    if node.meta["layout"] == CHANNELS_FIRST:
        order = "channels before time"
    return f"{shape_text(shape_before)} -> {shape_text(shape)}, {order}"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Return a shape with the batch as a letter.

    >>> shape_text((1, 2000, 12)), shape_text((10, 4)), shape_text((None, None, 12))
    ('[B, 2000, 12]', '[10 B, 4]', '[B, any, 12]')
    """
    if not shape:
        return "one number"
    batch = "B" if shape[0] in (1, None) else f"{shape[0]} B"
    sizes = ["any" if size is None else str(size) for size in shape[1:]]
    return f"[{', '.join([batch, *sizes])}]"


def _variables() -> itertools.chain[str]:
    """Return x, y, z, x4, x5, ..."""
    return itertools.chain("xyz", (f"x{number}" for number in itertools.count(4)))
