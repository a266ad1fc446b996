"""How layer-wise relevance passes through each kind of operation.

A module may tell it by a class attribute ``relevance``, which counts before anything
said here:

- ``"linear"``: the output is linear in the inputs, with or without a bias; relevance is
shared out by contribution;
- ``"rearrange"``: values are only moved, copied or dropped; relevance moves with them;
- ``"elementwise"``: each value has its own output; relevance passes unchanged;
- ``"winner"``: the output is one of the inputs, such as a maximum; that input takes all
relevance;
- ``"product"``: a signal is multiplied by a gate; the signal takes all relevance.
"""

from __future__ import annotations

import builtins
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ecgnb.core.errors import ConfigError

KINDS = ("linear", "rearrange", "elementwise", "winner", "product")

#: Activations: modules that map each value on its own.
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *(
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.PReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Hardswish,
    ),
    *(
        nn.Sigmoid,
        nn.LogSigmoid,
        nn.Hardsigmoid,
        nn.Tanh,
        nn.Hardtanh,
        nn.Tanhshrink,
        nn.Softplus,
        nn.Softsign,
    ),
    *(nn.Softshrink, nn.Hardshrink, nn.Threshold),
)
#: Poolings that average; the maximum is a ``"winner"``.
AVERAGES: tuple[type[nn.Module], ...] = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
)

_MODULES: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("linear", (_ConvNd, nn.Linear, *AVERAGES)),
    (
        "winner",
        (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    ),
    (
        "rearrange",
        (nn.ConstantPad1d, nn.ConstantPad2d, nn.Flatten, nn.Unflatten),
    ),  # ZeroPad1d is a ConstantPad1d
    ("rearrange", (nn.ReflectionPad1d, nn.ReplicationPad1d, nn.CircularPad1d)),
    (
        "elementwise",
        (
            *ACTIVATIONS,
            nn.Identity,
            nn.Dropout,
            nn.Dropout1d,
            nn.Dropout2d,
            nn.AlphaDropout,
        ),
    ),
)

_FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.sub, operator.neg), "linear"),
    **dict.fromkeys(
        (
            torch.add,
            torch.sub,
            torch.neg,
            torch.mean,
            torch.sum,
            torch.matmul,
            operator.matmul,
        ),
        "linear",
    ),
    **dict.fromkeys(
        (operator.truediv, torch.div, F.avg_pool1d, F.adaptive_avg_pool1d), "linear"
    ),
    **dict.fromkeys(
        (
            torch.cat,
            torch.stack,
            torch.flatten,
            torch.reshape,
            torch.permute,
            torch.transpose,
        ),
        "rearrange",
    ),
    **dict.fromkeys(
        (torch.squeeze, torch.unsqueeze, torch.chunk, torch.split, F.pad), "rearrange"
    ),
    **dict.fromkeys((operator.getitem, builtins.getattr), "rearrange"),
    **dict.fromkeys(
        (torch.max, torch.amax, torch.maximum, F.max_pool1d, F.adaptive_max_pool1d),
        "winner",
    ),
    **dict.fromkeys((operator.mul, torch.mul), "product"),
    **dict.fromkeys(
        (
            torch.relu,
            torch.sigmoid,
            torch.tanh,
            torch.clamp,
            F.relu,
            F.elu,
            F.gelu,
            F.silu,
        ),
        "elementwise",
    ),
    **dict.fromkeys(
        (F.leaky_relu, F.selu, F.softplus, F.sigmoid, F.tanh, F.dropout, F.hardtanh),
        "elementwise",
    ),
}

_METHODS: dict[str, str] = {
    **dict.fromkeys(("add", "sub", "neg", "mean", "sum", "matmul", "div"), "linear"),
    **dict.fromkeys(
        ("flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze"),
        "rearrange",
    ),
    **dict.fromkeys(
        ("unflatten", "expand", "repeat", "chunk", "split", "contiguous"), "rearrange"
    ),
    **dict.fromkeys(("max", "amax"), "winner"),
    **dict.fromkeys(("mul",), "product"),
    **dict.fromkeys(
        ("relu", "sigmoid", "tanh", "clamp", "to", "float", "double"), "elementwise"
    ),
}

#: Operations that are linear only where what comes first is data and the rest is
#: constant.
_BY_CONSTANT: tuple[Any, ...] = (
    operator.matmul,
    torch.matmul,
    "matmul",
    operator.truediv,
    torch.div,
    "div",
)

#: Activations between two bounds, with which gates are computed.
_GATES: tuple[Any, ...] = (
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Softmax),
    *(torch.sigmoid, torch.tanh, torch.softmax, F.sigmoid, F.tanh, F.softmax),
    *("sigmoid", "tanh", "softmax"),
)


def module_kind(module: nn.Module) -> str | None:
    """Return how relevance passes through a module, or ``None`` where nothing is known
    about it.

    Raises:
        ConfigError: its attribute ``relevance`` is not one of `KINDS`.
    """
    declared = getattr(module, "relevance", None)
    if isinstance(declared, str):
        if declared not in KINDS:
            raise ConfigError(
                f"{type(module).__name__}.relevance is {declared!r}; choose one of {', '.join(KINDS)}."
            )
        return declared
    if isinstance(module, _BatchNorm):
        return (
            "linear" if module.running_mean is not None else None
        )  # else it depends on the whole batch
    if isinstance(module, nn.Upsample):
        return "rearrange" if module.mode == "nearest" else "linear"
    return next(
        (kind for kind, classes in _MODULES if isinstance(module, classes)), None
    )


def node_kind(node: fx.Node, root: nn.Module) -> str | None:
    """Return how relevance passes through a node of a graph, or ``None`` where nothing
    is known about it.
    """
    if node.op == "call_module":
        return module_kind(root.get_submodule(str(node.target)))
    if node.op == "call_function":
        return _FUNCTIONS.get(node.target)
    return _METHODS.get(str(node.target)) if node.op == "call_method" else None


def needs_a_constant(node: fx.Node) -> bool:
    """Return whether a node is linear only as long as its second operand is
    constant.
    """
    return node.target in _BY_CONSTANT


def is_gate(node: fx.Node, root: nn.Module) -> bool:
    """Return whether a node's output came out of a sigmoid, tanh or softmax, perhaps
    rearranged since.
    """
    while node_kind(node, root) == "rearrange" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    if node.op == "call_module":
        return isinstance(
            root.get_submodule(str(node.target)),
            tuple(g for g in _GATES if isinstance(g, type)),
        )
    return node.target in _GATES


def describe(node: fx.Node, root: nn.Module) -> str:
    """Return a node's name and class for messages."""
    if node.op == "call_module":
        return f"{str(node.target)!r} ({type(root.get_submodule(str(node.target))).__name__})"
    return f"{node.name!r} ({getattr(node.target, '__name__', node.target)})"
