"""The graph of a port as the lines of a ``forward`` method, with names that people
would choose.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

from torch import fx

from ecgnb.core.errors import PortError
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.source.carried import Carried
from ecgnb.port.source.expressions import call, commented, index, literal

_INDENT = "        "
#: Functions that are written as operators.
_BINARY = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.pow: "**",
    operator.matmul: "@", operator.eq: "==", operator.ne: "!=", operator.gt: ">", operator.ge: ">=",
    operator.lt: "<", operator.le: "<=",
}  # fmt: skip


class ForwardCode:
    """Writes nodes as statements; a name is taken again as soon as its tensor is no
    longer needed.

    Args:
        carried: what the file carries; functions are named by it.
        names: of the nodes that exist before the first statement.
        reserved: names that no variable may have.
    """

    def __init__(
        self, carried: Carried, names: dict[fx.Node, str], reserved: set[str]
    ) -> None:
        self._carried = carried
        self._names = dict(names)
        self._kept = set(names.values()) | reserved

    def name(self, node: fx.Node) -> str:
        """Return the variable that holds a node's tensor."""
        return self._names[node]

    def write(self, nodes: list[fx.Node], outputs: list[fx.Node]) -> list[str]:
        """Return a statement for each node.

        Args:
            nodes: in the order of their execution.
            outputs: nodes whose tensors are needed at the end.
        """
        last = {
            each: place
            for place, node in enumerate(nodes)
            for each in node.all_input_nodes
        }
        last |= dict.fromkeys(outputs, len(nodes))
        lines = []
        for place, node in enumerate(nodes):
            head, arguments = self._expression(node)
            for each in node.all_input_nodes:
                if last[each] == place and self._names[each] not in self._kept:
                    self._names[each] = (
                        ""  # free again, also for this node's own output
                    )
            self._names[node] = next(
                name
                for name in _variables()
                if name not in {*self._names.values(), *self._kept}
            )
            line = f"{self._names[node]} = {head}"
            text = (
                f"{_INDENT}{line}"
                if arguments is None
                else call(line, arguments, _INDENT)
            )
            lines.append(commented(text, self._comment(node)))
        return lines

    def _expression(self, node: fx.Node) -> tuple[str, list[str] | None]:
        """Return what is called and its arguments; ``None`` for those of an
        operator.
        """
        arguments = [self._literal(each) for each in node.args]
        named = [f"{name}={self._literal(each)}" for name, each in node.kwargs.items()]
        if node.op == "call_module":
            return f"self.{node.target}", arguments + named
        if node.op == "call_method":
            return f"{arguments[0]}.{node.target}", arguments[1:] + named
        if node.op != "call_function":
            raise PortError(
                f"A node of the kind {node.op} ({node.target}) cannot be written as source code."
            )
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if target is operator.getitem:
            return f"{arguments[0]}[{index(node.args[1], self._name_of)}]", None
        if target in _BINARY and len(arguments) == 2:
            return f"{arguments[0]} {_BINARY[target]} {arguments[1]}", None
        return self._carried.name(target), arguments + named

    def _literal(self, value: Any) -> str:
        return literal(value, self._name_of)

    def _name_of(self, value: Any) -> str:
        return (
            self._names[value]
            if isinstance(value, fx.Node)
            else self._carried.name(value)
        )

    def _comment(self, node: fx.Node) -> str:
        """Tell the shape where it changes, and where time and channels change
        places.
        """
        shape = node.meta.get("shape")
        before = (
            node.all_input_nodes[0].meta.get("shape") if node.all_input_nodes else None
        )
        if shape is None or shape == before:
            return ""
        if node.op == "call_method" and node.target == "transpose" and before:
            order = (
                "channels before time"
                if node.meta["layout"] == CHANNELS_FIRST
                else "time before channels"
            )
            return f"{shape_text(before)} -> {shape_text(shape)}, {order}"
        return shape_text(shape)


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Return a shape with the batch as a letter.

    >>> shape_text((1, 2000, 12)), shape_text((10, 4)), shape_text((None, None, 12))
    ('[B, 2000, 12]', '[10 B, 4]', '[B, any, 12]')
    """
    if not shape:
        return "one number"
    batch = "B" if shape[0] in (1, None) else f"{shape[0]} B"
    return f"[{', '.join([batch, *('any' if size is None else str(size) for size in shape[1:])])}]"


def _variables() -> Iterator[str]:
    yield from "xyz"
    number = 4
    while True:
        yield f"x{number}"
        number += 1
