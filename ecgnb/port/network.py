"""`Network`: a torch.fx graph while it is being written, with the layout of every
tensor known.

Keras keeps time before channels, ``[B, T, C]``; PyTorch's convolutions want ``[B, C,
T]``. A tensor is turned only where the next layer needs the other layout, so a chain of
convolutions and poolings is turned once at either end.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

#: Layouts of a tensor: as Keras has it, or channels before time (rank 3 only).
KERAS, CHANNELS_FIRST = "keras", "nct"


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        node: what computes it.
        example: what comes of an input of zeros, batch 1: it tells rank, shape and
            dtype.
        layout: ``"keras"`` or ``"nct"``.
        turned: the same tensor in the other layout, once somebody asked for it.
    """

    node: fx.Node
    example: Tensor
    layout: str = KERAS
    turned: Value | None = None

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
        made: for each module's path, how it was built.
        scope: path of the nested model that is being written, with a dot at its end;
            else empty.
    """

    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    made: dict[str, Made] = field(default_factory=dict)
    scope: str = ""

    def apply(
        self,
        path: str,
        kind: type[nn.Module],
        inputs: Any,
        *args: Any,
        layout: str | None = None,
        **options: Any,
    ) -> Value:
        """Call a module, made at its first call: ``kind(*args, **options)``.

        Args:
            path: where it is kept, below the current scope.
            kind: its class.
            inputs: a value, or several (a tuple is passed as that many arguments, a
                list as one).
            *args: of the constructor.
            layout: of the output; left out, that of the first input.
            **options: of the constructor.
        """
        full = self.scope + path
        if full not in self.made:
            self.made[full] = Made(kind, args, options)
            self.put(full, kind(*args, **options).eval())
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        node = self.graph.call_module(full, tuple(_nodes(each) for each in inputs))
        with torch.no_grad():
            example = self.root.get_submodule(full)(
                *[_examples(each) for each in inputs]
            )
        first = inputs[0][0] if isinstance(inputs[0], list) else inputs[0]
        return Value(node, example, layout or first.layout)

    def method(self, name: str, value: Value, *args: Any, layout: str = KERAS) -> Value:
        """Call a tensor's own method, such as ``transpose``."""
        return Value(
            self.graph.call_method(name, (value.node, *args)),
            getattr(value.example, name)(*args),
            layout,
        )

    def function(
        self, function: Any, *args: Any, layout: str = KERAS, **options: Any
    ) -> Value:
        """Call a function; a `Value` among the arguments stands for its tensor, also in
        lists.
        """
        node = self.graph.call_function(
            function,
            tuple(map(_nodes, args)),
            {k: _nodes(v) for k, v in options.items()},
        )
        with torch.no_grad():
            example = function(
                *map(_examples, args),
                **{name: _examples(option) for name, option in options.items()},
            )
        return Value(node, example, layout)

    def keras(self, value: Value) -> Value:
        """Return the value as Keras has it, time before channels."""
        return value if value.layout == KERAS else self._turn(value, KERAS)

    def channels_first(self, value: Value) -> Value:
        """Return a value of rank 3 with channels before time."""
        return (
            value
            if value.layout == CHANNELS_FIRST
            else self._turn(value, CHANNELS_FIRST)
        )

    def put(self, path: str, module: nn.Module) -> None:
        """Keep a module under a dotted path."""
        *above, name = path.split(".")
        holder = self.root
        for part in above:
            if not hasattr(holder, part):
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        holder.add_module(name, module)

    def _turn(self, value: Value, layout: str) -> Value:
        if value.turned is None:
            value.turned = self.method("transpose", value, 1, 2, layout=layout)
            value.turned.turned = value
        return value.turned


def module_name(name: str) -> str:
    """Return a layer's name as the name of a Python attribute that is free on an
    `nn.Module`.

    >>> module_name("conv1d_2"), module_name("block/conv.1"), module_name("half"), module_name("logits")
    ('conv1d_2', 'block_conv_1', 'half_', 'logits_')
    """
    name = re.sub(
        r"\W", "_", name, flags=re.ASCII
    )  # Python takes other letters for their look-alikes
    if not name[:1].isalpha():
        name = f"layer_{name}"  # two underscores at the beginning would be another name inside a class
    taken = (
        keyword.iskeyword(name)
        or hasattr(fx.GraphModule, name)
        or name in ("self", "logits", "training", "contract")
    )
    return f"{name}_" if taken else name


def _nodes(value: Any) -> Any:
    if isinstance(value, Value):
        return value.node
    return type(value)(map(_nodes, value)) if isinstance(value, list | tuple) else value


def _examples(value: Any) -> Any:
    if isinstance(value, Value):
        return value.example
    return (
        type(value)(map(_examples, value)) if isinstance(value, list | tuple) else value
    )
