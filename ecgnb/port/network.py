"""Writer of a torch.fx graph that tracks the layout of every tensor.

Keras keeps time before channels, ``[B, T, C]``; PyTorch's convolutions need ``[B, C,
T]``. A tensor is transposed only where the next layer needs the other layout, so a
chain of convolutions and poolings is transposed once at either end.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.port.reading.calls import map_nested

#: Layouts of a tensor: as Keras has it, or channels before time (rank 3 only).
KERAS, CHANNELS_FIRST = "keras", "nct"

#: Names that a port keeps for itself.
_RESERVED = ("self", "logits", "training", "contract")


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        node: what computes it.
        example: its value for an input of zeros, batch 1; gives rank, shape and dtype.
        layout: ``"keras"`` or ``"nct"``.
        transposed: the same tensor in the other layout, once it was needed.
    """

    node: fx.Node
    example: Tensor
    layout: str = KERAS
    transposed: Value | None = None

    def __post_init__(self) -> None:
        self.node.meta["layout"] = self.layout
        if isinstance(self.example, Tensor):
            self.node.meta["shape"] = tuple(self.example.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as Keras has it, without the batch."""
        shape = tuple(self.example.shape[1:])
        return shape[::-1] if self.layout == CHANNELS_FIRST else shape

    @property
    def rank(self) -> int:
        """Its number of dimensions, the batch included."""
        return self.example.ndim


@dataclass(frozen=True)
class Made:
    """How a module was built, to write it down as source code."""

    kind: type[nn.Module]
    args: tuple[Any, ...]
    options: dict[str, Any]


@dataclass
class Network:
    """Modules and the graph of their calls.

    Attributes:
        root: holds the modules under their layers' names.
        graph: the calls.
        made: how each module was built, by its path.
        scope: path of the nested model that is being written, with a dot at its end;
            empty at the top.
        module: name of the module of the layer that is being written, in the scope.
    """

    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    made: dict[str, Made] = field(default_factory=dict)
    scope: str = ""
    module: str = ""

    def apply(
        self,
        kind: type[nn.Module],
        inputs: Any,
        *args: Any,
        suffix: str = "",
        layout: str | None = None,
        output_layout: str | None = None,
        **options: Any,
    ) -> Value:
        """Call a module of the current layer, which is built at its first call:
        ``kind(*args, **options)``.

        Args:
            kind: the module's class.
            inputs: a value, or several in a tuple.
            *args: of the constructor.
            suffix: of the module's name, if the layer has several.
            layout: in which the inputs are needed; ``None`` for any.
            output_layout: of the output; by default that of the first input.
            **options: of the constructor.
        """
        path = self.scope + self.module + suffix
        if path not in self.made:
            self.made[path] = Made(kind, args, options)
            self.put(path, kind(*args, **options).eval())  # examples without dropout
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        inputs = self._in_layout(inputs, layout)
        node = self.graph.call_module(path, _nodes(inputs))
        with torch.no_grad():
            example = self.root.get_submodule(path)(*_examples(inputs))
        return Value(node, example, output_layout or inputs[0].layout)

    def method(self, name: str, value: Value, *args: Any, layout: str = KERAS) -> Value:
        """Call a method of a tensor, such as ``transpose``."""
        node = self.graph.call_method(name, (value.node, *args))
        return Value(node, getattr(value.example, name)(*args), layout)

    def function(
        self, function: Any, *args: Any, layout: str = KERAS, **options: Any
    ) -> Value:
        """Call a function; a `Value` among the arguments, also in lists, stands for its
        tensor in ``layout``.
        """
        args = self._in_layout(args, layout)
        node = self.graph.call_function(function, _nodes(args), _nodes(options))
        with torch.no_grad():
            example = function(*_examples(args), **_examples(options))
        return Value(node, example, layout)

    def keras(self, value: Value) -> Value:
        """Return the value as Keras has it, time before channels."""
        return self.in_layout(value, KERAS)

    def channels_first(self, value: Value) -> Value:
        """Return a value of rank 3 with channels before time."""
        return self.in_layout(value, CHANNELS_FIRST)

    def in_layout(self, value: Value, layout: str | None) -> Value:
        """Return the value in a layout; ``None`` keeps the one that it has."""
        if layout in (None, value.layout):
            return value
        if value.transposed is None:
            value.transposed = self.method("transpose", value, 1, 2, layout=str(layout))
            value.transposed.transposed = value  # a second transpose is never written
        return value.transposed

    def _in_layout(self, values: Any, layout: str | None) -> Any:
        def convert(item: Any) -> Any:
            return self.in_layout(item, layout) if isinstance(item, Value) else item

        return map_nested(values, convert)

    def put(self, path: str, module: nn.Module) -> None:
        """Keep a module under a dotted path."""
        *parents, name = path.split(".")
        holder = self.root
        for parent in parents:
            if not hasattr(holder, parent):
                holder.add_module(parent, nn.Module())
            holder = holder.get_submodule(parent)
        holder.add_module(name, module)


def module_name(name: str) -> str:
    """Return a layer's name as a Python attribute that is free on an `nn.Module`.

    >>> [module_name(name) for name in ("conv1d_2", "block/conv.1", "half", "logits")]
    ['conv1d_2', 'block_conv_1', 'half_', 'logits_']
    """
    # ASCII only: Python reads some other letters as their look-alikes
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not name[:1].isalpha():  # two leading underscores are mangled inside a class
        name = f"layer_{name}"
    taken = hasattr(fx.GraphModule, name) or name in _RESERVED
    return f"{name}_" if taken or keyword.iskeyword(name) else name


def size_texts(sizes: Sequence[int | None], free: str = "any") -> list[str]:
    """Return the sizes of a shape as texts, ``free`` for a dimension that is free."""
    return [free if size is None else str(size) for size in sizes]


def _nodes(values: Any) -> Any:
    return map_nested(values, lambda v: v.node if isinstance(v, Value) else v)


def _examples(values: Any) -> Any:
    return map_nested(values, lambda v: v.example if isinstance(v, Value) else v)
