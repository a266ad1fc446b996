"""Kinds of operations for layer-wise relevance propagation.

A module may declare its kind by a class attribute ``relevance``, which takes precedence
over the tables here:

- ``"linear"``: the output is linear in the inputs, with or without a bias; relevance is
shared by contribution;
- ``"rearrange"``: values are only moved, copied or dropped; relevance moves with them;
- ``"elementwise"``: each value has one output; relevance passes unchanged;
- ``"winner"``: the output is one of the inputs, such as a maximum; that input takes all
relevance;
- ``"product"``: a signal is multiplied by a gate; the signal takes all relevance.
"""

from __future__ import annotations

import builtins
import operator

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ecgnb.core.errors import ConfigError

KINDS = ("linear", "rearrange", "elementwise", "winner", "product")

#: Activations: modules that map each value by itself.
ACTIVATIONS: tuple[type[nn.Module], ...] = (
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
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardsigmoid,
    nn.Tanh,
    nn.Hardtanh,
    nn.Tanhshrink,
    nn.Softplus,
    nn.Softsign,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Threshold,
)
#: Poolings that average; the maximum is a ``"winner"``.
AVERAGES: tuple[type[nn.Module], ...] = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
)

_MODULES: dict[str, tuple[type[nn.Module], ...]] = {
    "linear": (_ConvNd, nn.Linear, *AVERAGES),
    "winner": (
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.AdaptiveMaxPool1d,
        nn.AdaptiveMaxPool2d,
    ),
    "rearrange": (
        nn.ConstantPad1d,  # also ZeroPad1d
        nn.ConstantPad2d,
        nn.ReflectionPad1d,
        nn.ReplicationPad1d,
        nn.CircularPad1d,
        nn.Flatten,
        nn.Unflatten,
    ),
    "elementwise": (
        *ACTIVATIONS,
        nn.Identity,
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.AlphaDropout,
    ),
}

#: Functions of PyTorch, operators and methods of tensors by their names.
_CALLS = {
    "linear": (
        "add sub neg mean sum matmul div truediv avg_pool1d adaptive_avg_pool1d"
    ),
    "rearrange": (
        "cat stack flatten unflatten reshape view permute transpose squeeze unsqueeze "
        "expand repeat chunk split pad contiguous getitem getattr"
    ),
    "winner": "max amax maximum max_pool1d adaptive_max_pool1d",
    "product": "mul",
    "elementwise": (
        "relu elu gelu silu leaky_relu selu softplus sigmoid tanh hardtanh clamp "
        "dropout to float double"
    ),
}
_KIND_OF_CALL: dict[str, str] = {}
for _kind, _names in _CALLS.items():
    _KIND_OF_CALL.update(dict.fromkeys(_names.split(), _kind))
#: Where the functions of a graph come from; others of the same name are unknown.
_LIBRARIES = (torch, F, operator, builtins)

#: Operations that are linear only if the first operand is data and the second constant.
_BY_CONSTANT = ("matmul", "truediv", "div")

#: Activations between two bounds, with which gates are computed.
_GATE_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Softmax)
_GATE_CALLS = ("sigmoid", "tanh", "softmax")


def module_kind(module: nn.Module) -> str | None:
    """Return the kind of a module, or ``None`` if it is unknown.

    Raises:
        ConfigError: its attribute ``relevance`` is not one of `KINDS`.
    """
    declared = getattr(module, "relevance", None)
    if isinstance(declared, str):
        if declared not in KINDS:
            raise ConfigError(
                f"{type(module).__name__}.relevance is {declared!r}; choose one of "
                f"{', '.join(KINDS)}."
            )
        return declared
    if isinstance(module, _BatchNorm):
        # Without running statistics a record's output depends on the whole batch.
        return "linear" if module.running_mean is not None else None
    if isinstance(module, nn.Upsample):  # other modes interpolate
        return "rearrange" if module.mode == "nearest" else "linear"
    for kind, classes in _MODULES.items():
        if isinstance(module, classes):
            return kind
    return None


def module_of(node: fx.Node, root: nn.Module) -> nn.Module | None:
    """Return the module that a node calls, ``None`` if it calls none."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target))
    return None


def node_kind(node: fx.Node, root: nn.Module) -> str | None:
    """Return the kind of a node of a graph, or ``None`` if it is unknown."""
    module = module_of(node, root)
    if module is not None:
        return module_kind(module)  # its attribute or the table
    return _KIND_OF_CALL.get(call_name(node))


def call_name(node: fx.Node) -> str:
    """Return the name of the method, operator or function of PyTorch that a node calls;
    empty for anything else.
    """
    if node.op == "call_method":
        return str(node.target)
    name = getattr(node.target, "__name__", "")
    if any(getattr(library, name, None) is node.target for library in _LIBRARIES):
        return name
    return ""


def is_linear(node: fx.Node, sources: list[fx.Node]) -> bool:
    """Return whether a node of the kind ``"linear"`` is linear in its sources; a matrix
    product or quotient of two signals is not.
    """
    return call_name(node) not in _BY_CONSTANT or sources == [node.args[0]]


def is_gate(node: fx.Node, root: nn.Module) -> bool:
    """Return whether a node's output is that of a sigmoid, tanh or softmax, perhaps
    rearranged.
    """
    while node_kind(node, root) == "rearrange" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    is_gate_module = isinstance(module_of(node, root), _GATE_MODULES)
    return is_gate_module or call_name(node) in _GATE_CALLS


def describe(node: fx.Node, root: nn.Module) -> str:
    """Return a node's name and class for messages."""
    module = module_of(node, root)
    if module is not None:
        return f"{str(node.target)!r} ({type(module).__name__})"
    return f"{node.name!r} ({getattr(node.target, '__name__', node.target)})"
