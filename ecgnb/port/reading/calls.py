"""Calls of Keras layers: tensors, arguments, and an order that can be executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
        return [*refs_in(self.args), *refs_in(self.kwargs)]


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
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)
    elif isinstance(value, dict):
        yield from refs_in(list(value.values()))


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
        kwargs = map_nested(node.get("kwargs") or {}, _ref_3)
        return Call(layer, index, tuple(map_nested(node["args"], _ref_3)), kwargs)
    if isinstance(node, dict):  # a nested model that is called with a dictionary
        named = {key: map_nested(entry[:3], _ref_2) for key, entry in node.items()}
        return Call(layer, index, (named,), {})
    alone = bool(node) and isinstance(node[0], str)
    entries = [node] if alone else node
    tensors = [map_nested(entry[:3], _ref_2) for entry in entries]
    kwargs = map_nested(entries[0][3] if len(entries[0]) > 3 else {}, _ref_2)
    # a function takes a list of one tensor as a list, a layer as the tensor
    single = alone or len(tensors) == 1
    if is_function:
        kwargs.pop("name", None)
        single = alone
    return Call(layer, index, (tensors[0] if single else tensors,), kwargs)


def _ref_3(value: Any) -> Any:
    """Return the `Ref` for an object with which Keras 3 writes a tensor."""
    kind = value.get("class_name") if isinstance(value, dict) else None
    if kind == "__keras_tensor__":
        return Ref(*value["config"]["keras_history"])
    if kind == "__tuple__":
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
    if isinstance(listed, dict):  # Keras takes dictionaries in the order of their keys
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
    ready = {(name, 0) for name in inputs}
    waiting = list(calls)
    ordered = []
    while waiting:
        now = []
        for call in waiting:
            if ready.issuperset((ref.layer, ref.call) for ref in call.refs):
                now.append(call)
        if not now:
            raise PortError(
                f"The graph is broken: {waiting[0].label} takes a tensor that no layer "
                "makes."
            )
        ordered += now
        ready.update((call.layer, call.index) for call in now)
        waiting = [call for call in waiting if call not in now]
    return ordered


def renumbered(
    calls: list[Call], outputs: list[Ref], models: set[str]
) -> tuple[list[Call], list[Ref]]:
    """Number the calls of nested models from 0: Keras 2 counts the construction of a
    model as its first call.
    """
    first: dict[str, int] = {}
    for ref in [*outputs, *(ref for call in calls for ref in call.refs)]:
        if ref.layer in models:
            first[ref.layer] = min(first.get(ref.layer, ref.call), ref.call)

    def renumber(value: Any) -> Any:
        if not isinstance(value, Ref):
            return value
        return Ref(value.layer, value.call - first.get(value.layer, 0), value.output)

    renumbered = [
        Call(
            call.layer,
            call.index,
            map_nested(call.args, renumber),
            map_nested(call.kwargs, renumber),
        )
        for call in calls
    ]
    return renumbered, map_nested(outputs, renumber)
