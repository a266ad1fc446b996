"""Calls of Keras layers: tensors, arguments, and an order that can be executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ecgnb.core.errors import PortError

#: Options as Keras serialised them.
Config = dict[str, Any]


@dataclass(frozen=True)
class Ref:
    """One tensor: output ``output`` of call number ``call`` of a layer."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a layer; `args` and `kwargs` hold a `Ref` for each tensor."""

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: Config

    @property
    def label(self) -> str:
        """The layer's name, with ``@1`` for its second call."""
        return f"{self.layer}@{self.index}" if self.index else self.layer

    @property
    def refs(self) -> list[Ref]:
        """The tensors among its arguments."""
        return list(refs_in([self.args, self.kwargs]))


def map_nested(value: Any, function: Callable[[Any], Any]) -> Any:
    """Replace items of nested lists, tuples and dictionaries.

    Args:
        value: the outermost container, or one item.
        function: returns what replaces an item or container; a container that it
            returns unchanged is searched for more.
    """
    replaced = function(value)
    if replaced is not value:
        return replaced
    if isinstance(value, dict):
        return {key: map_nested(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([map_nested(item, function) for item in value])
    return value


def refs_in(value: Any) -> Iterator[Ref]:
    """Yield every tensor in the arguments of a call."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)


def parse_call(layer: str, index: int, node: Any, is_function: bool) -> Call:
    """Read a node: of Keras 3 ``{args, kwargs}``, of Keras 1 and 2 ``[[layer, node,
    tensor, kwargs], ...]`` or one such entry alone.

    Args:
        layer: its name.
        index: number of the call among those of the layer.
        node: as Keras serialised it.
        is_function: whether the layer is a function of a graph.
    """
    if isinstance(node, dict) and "args" in node:
        args, kwargs = map_nested([node["args"], node.get("kwargs") or {}], _ref_3)
        return Call(layer, index, tuple(args), kwargs)
    if isinstance(node, dict):  # a nested model that is called with a dictionary
        return Call(layer, index, (map_nested(node, _ref_2),), {})
    alone = bool(node) and isinstance(node[0], str)
    entries = [node] if alone else node
    tensors = map_nested(entries, _ref_2)
    kwargs = {}
    if len(entries[0]) > 3:  # Keras 1 writes no arguments
        kwargs = map_nested(entries[0][3], _ref_2)
    if is_function:
        kwargs.pop("name", None)
    elif len(tensors) == 1:  # a function takes a list of one tensor as a list
        alone = True
    return Call(layer, index, (tensors[0] if alone else tensors,), kwargs)


def _ref_3(value: Any) -> Any:
    """Return the `Ref` for an object with which Keras 3 writes a tensor."""
    if not isinstance(value, dict):
        return value
    kind = value.get("class_name")
    if kind == "__keras_tensor__":
        return Ref(*value["config"]["keras_history"])
    if kind == "__tuple__":  # JSON has lists only
        return tuple(map_nested(value["items"], _ref_3))
    return value


def _ref_2(value: Any) -> Any:
    """Return the `Ref` for ``[layer, node, tensor]`` of Keras 2, the value of
    ``["_CONSTANT_VALUE", -1, value]``.
    """
    if not isinstance(value, list) or len(value) < 3:
        return value
    if value[0] == "_CONSTANT_VALUE":
        return value[2]
    numbered = all(type(number) is int for number in value[1:3])
    if len(value) <= 4 and isinstance(value[0], str) and numbered:
        return Ref(*value[:3])
    return value


def refs_of(listed: Any) -> list[Ref]:
    """Read ``input_layers`` or ``output_layers``: one entry, a list of them, or a
    dictionary.
    """
    if isinstance(listed, dict):
        # Keras takes dictionaries in the order of their keys
        listed = [listed[key] for key in sorted(listed)]
    if listed and isinstance(listed[0], str):
        return [Ref(*listed[:3])]
    return [ref for entry in listed for ref in refs_of(entry)]


def in_order(calls: list[Call], inputs: list[str]) -> list[Call]:
    """Sort calls so that each comes after those whose tensors it takes.

    Args:
        calls: of all layers.
        inputs: names of the input layers.

    Raises:
        PortError: a call takes a tensor that no layer makes.
    """
    ready = {(name, 0) for name in inputs}  # layer and call
    ordered: list[Call] = []
    while calls:
        executable = []
        waiting = []
        for call in calls:
            needed = {(ref.layer, ref.call) for ref in call.refs}
            if needed <= ready:
                executable.append(call)
            else:
                waiting.append(call)
        if not executable:
            raise PortError(
                f"The graph is broken: {waiting[0].label} takes a tensor that no layer "
                "makes."
            )
        ordered += executable
        ready.update((call.layer, call.index) for call in executable)
        calls = waiting
    return ordered


def renumbered(
    calls: list[Call], outputs: list[Ref], models: set[str]
) -> tuple[list[Call], list[Ref]]:
    """Number the calls of nested models from 0: Keras 2 counts the construction of a
    model as its first call.
    """
    first: dict[str, int] = {}
    for ref in refs_in([outputs, [call.refs for call in calls]]):
        if ref.layer in models:
            first[ref.layer] = min(first.get(ref.layer, ref.call), ref.call)

    def renumber(value: Any) -> Any:
        if isinstance(value, Ref) and value.layer in first:
            return replace(value, call=value.call - first[value.layer])
        return value

    renumbered = []
    for call in calls:
        args = map_nested(call.args, renumber)
        kwargs = map_nested(call.kwargs, renumber)
        renumbered.append(replace(call, args=args, kwargs=kwargs))
    return renumbered, map_nested(outputs, renumber)
