"""Likely cause of a divergence: six common mistakes, each named only if undoing it
makes the layer agree with the reference.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ecgnb.port.layers.activation import ACTIVATIONS, OVER_CHANNELS, making_of
from ecgnb.port.modules.basic import SamePad1d
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.proof.layer_rows import Row, Verification
from ecgnb.port.proof.port_run import SHAPE_ERRORS, keras_array
from ecgnb.port.proof.segment import Segment

#: Values of epsilon that libraries use.
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 1e-4, 1e-2, 0.1, 0.0)
#: An epsilon fits if every channel agrees to this part of its own scale,
CHANNEL_RTOL = 1e-4
#: or to this part of the layer's scale, which float32 cannot improve.
FLOAT32_ERROR = 2e-6
#: Longer segments are not searched: too much lies between two known outputs.
MAX_NODES = 24


@dataclass(frozen=True)
class Repair:
    """A change of one node that undoes one mistake.

    Attributes:
        cause: name of the mistake.
        detail: what the port does, and what would be right.
        replacement: called instead of the node, with its arguments.
    """

    cause: str
    detail: str
    replacement: Callable[..., Any]


def likely_cause(verification: Verification, row: Row) -> str:
    """Return why a row diverges, in one or two sentences.

    All layers before the first divergent one agree, so its input is right. Each mistake
    is undone on a copy of the layer and named if the output then agrees.
    """
    if row.node is None or row.stored is None:
        return (
            f"{row.name}: all that was compared forwards agrees, so a derivative "
            "differs: an operation that is detached, rounded or done in place."
        )
    prefix = f"{row.name} ({row.class_name}): "
    if not verification.is_computed(row.node):
        return prefix + _failure(verification)
    segment = verification.segment(row.node, row.stored)
    if segment.misfit(segment.values[row.node]) <= segment.rtol:
        return prefix + _state(verification, segment)
    difference = _difference(segment)
    if len(segment.nodes) > MAX_NODES:
        return (
            f"{prefix}unknown: {len(segment.nodes)} steps lie between it and the "
            "nearest output that the reference holds: give a reference with all layers "
            f"(Reference.from_keras). {difference}"
        )
    misfit, repair = _best_repair(segment)
    if repair is not None:
        return (
            f"{prefix}{repair.cause}: {repair.detail}. With this repaired, the layer "
            f"agrees to {misfit:.1e} of its scale."
        )
    cause = "unknown" if row.shape == row.stored.shape else "shapes differ"
    return f"{prefix}{cause}: none of the known repairs makes it agree. {difference}"


def _failure(verification: Verification) -> str:
    """Return where the port stopped, and why."""
    run = verification.run if verification.run.error else verification.float64_run
    nodes = verification.port.graph.nodes
    stopped = next(node for node in nodes if node not in run.values)
    shapes = [list(run.values[source].shape) for source in stopped.all_input_nodes]
    return (
        "it cannot be computed: shapes differ or do not fit: the port stops at "
        f"{stopped.name}, whose inputs have the shapes {shapes}: {run.error}"
    )


def _state(verification: Verification, segment: Segment) -> str:
    """Return why a port diverges whose float64 copy agrees in evaluation mode."""
    training = []
    for node in segment.nodes:
        path = str(node.target)
        if node.op == "call_module" and verification.port.get_submodule(path).training:
            training.append(path)
    if training:
        return (
            f"training mode: {', '.join(training)} is in training mode; after "
            "port.eval() the layer agrees."
        )
    return (
        "precision: in float64 the port agrees, in float32 it does not: reduced "
        "precision (TF32, bfloat16), or sums that cancel."
    )


def _difference(segment: Segment) -> str:
    """Return how large the difference is, and in how many channels."""
    stored = segment.stored
    output = keras_array(segment.target, segment.values[segment.target])
    if output.shape != stored.shape:
        return (
            f"The port's output has the shape {list(output.shape)}, the reference's "
            f"{list(stored.shape)}."
        )
    gaps = stored.gaps(output)
    wrong = ~(gaps <= segment.rtol * stored.scale)  # true for NaN as well
    if not wrong.any():
        return "Only the mean or the maximum over all time steps differs."
    channels = wrong.reshape(-1, wrong.shape[-1]).any(axis=0)  # [C]
    worst = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return (
        f"It differs in {channels.sum()} of {stored.shape[-1]} channels; the largest "
        f"difference is {gaps[worst]:.3g} (scale {stored.scale:.3g}): the port has "
        f"{stored.at_steps(output)[worst]:.6g}, the reference "
        f"{stored.values[worst]:.6g}."
    )


@torch.no_grad()
def _best_repair(segment: Segment) -> tuple[float, Repair | None]:
    """Return the repair with the smallest misfit, if one makes the segment agree."""
    smallest, best = segment.rtol, None
    for hypothesis, node in itertools.product(HYPOTHESES, reversed(segment.nodes)):
        for repair in hypothesis(segment, node):
            try:
                output = segment.compute(node, repair.replacement)
            except SHAPE_ERRORS:  # the repair has no meaning for these shapes
                continue
            misfit = segment.misfit(output)
            if misfit < smallest and _fits_every_channel(segment, output):
                smallest, best = misfit, repair
    return smallest, best


def _fits_every_channel(segment: Segment, output: Tensor) -> bool:
    """Whether each channel agrees on its own scale.

    Without this, a wrong gamma or variance of a small channel looks like an epsilon.
    """
    stored = segment.stored
    axes = tuple(range(stored.values.ndim - 1))  # all but the channels
    values = keras_array(segment.target, output)
    gaps = stored.gaps(values).max(axis=axes)  # [C]
    limits = CHANNEL_RTOL * np.abs(stored.values).max(axis=axes)
    limits = np.maximum(limits, FLOAT32_ERROR * stored.scale)
    return bool((gaps <= limits).all())


def transposed_kernel(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """A kernel was reshaped, not permuted; PyTorch's axes are Keras' in reverse."""
    module: Any = segment.module_of(node)
    for name, tensor in _float_tensors(module).items():
        axes = tuple(range(tensor.ndim))
        right_order = axes[::-1]
        keras_shape = tensor.shape[::-1]
        for order in itertools.permutations(axes):
            if order == right_order:
                continue
            kernel = tensor.reshape([keras_shape[axis] for axis in order])
            # From this order to Keras', which is then reversed to PyTorch's.
            right_axes = np.argsort(order)[::-1]
            kernel = kernel.permute(*right_axes.tolist())
            yield Repair(
                "transposed kernel",
                f"{name} holds Keras' axes in the order {order} instead of "
                f"{right_order}",
                _with_tensors(module, {name: kernel}),
            )


def flatten_order(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """Flatten or Reshape takes channels before time, or the columns of the matrix
    behind it are sorted so.
    """
    module: Any = segment.module_of(node)
    is_linear = isinstance(module, nn.Linear)
    shape = _flattened_shape(segment, node)  # [T, C] or [C, T]
    if shape is None or (is_linear and math.prod(shape) != module.in_features):
        return
    for rows, columns in (shape, shape[::-1]):
        sort = partial(_transpose_samples, rows=rows, columns=columns)
        detail = "exchanging time and channels before flattening fits"
        repaired = _chain(partial(segment.call, node), sort)
        if is_linear:
            detail = "sorting the columns of weight for the other order fits"
            repaired = _chain(sort, module)
        yield Repair("flatten order", detail, repaired)


def _transpose_samples(x: Tensor, rows: int, columns: int) -> Tensor:
    """Transpose each sample, a flattened matrix ``[rows, columns]``."""
    matrices = x.reshape(-1, rows, columns)
    return matrices.transpose(1, 2).reshape(x.shape)


def _flattened_shape(segment: Segment, node: fx.Node) -> tuple[int, int] | None:
    """Return the matrix shape that a Flatten or Reshape takes, or for a linear layer
    the one that the nearest Flatten before it takes.
    """
    module = segment.module_of(node)
    if isinstance(module, nn.Linear):
        while not isinstance(module, nn.Flatten) and node.all_input_nodes:
            node = node.all_input_nodes[0]
            module = segment.module_of(node)
    flattens = type(module).__name__ in ("Flatten", "Reshape")
    if not flattens and node.target not in (torch.flatten, torch.reshape):
        return None
    _, *shape = segment.values[node.all_input_nodes[0]].shape
    return (shape[0], shape[1]) if len(shape) == 2 else None


def batch_norm_epsilon(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """A normalisation has another epsilon, one that libraries use."""
    module: Any = segment.module_of(node)
    if not isinstance(getattr(module, "eps", None), float):
        return
    cause = "BatchNorm epsilon" if isinstance(module, nn.BatchNorm1d) else "epsilon"
    for epsilon in EPSILONS:
        repaired = copy.deepcopy(module)
        repaired.eps = epsilon
        detail = f"the port has {module.eps:g}; {epsilon:g} fits"
        yield Repair(cause, detail, repaired)


def padding_side(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """The padding is split otherwise between start and end."""
    module: Any = segment.module_of(node)
    unpadded: Any = nn.Identity()
    value = 0.0
    if isinstance(module, SamePad1d | nn.ConstantPad1d):
        x = segment.values[node.all_input_nodes[0]]  # [B, C, T]
        padded = module(x)
        total = padded.shape[-1] - x.shape[-1]
        before, value = total // 2, module.value  # Keras' "same": more after
        if isinstance(module, nn.ConstantPad1d):
            before = int(module.padding[0])
    elif isinstance(module, nn.Conv1d) and module.padding != "valid":
        if module.padding == "same":
            (kernel_size,), (dilation,) = module.kernel_size, module.dilation
            total = (kernel_size - 1) * dilation
        else:
            total = 2 * module.padding[0]
        before = total // 2
        unpadded = copy.deepcopy(module)
        unpadded.padding, unpadded.padding_mode = 0, "zeros"
    else:
        return
    for left in range(total + 1):
        right = total - left
        pad = partial(F.pad, pad=(left, right), value=value)
        if left != before:
            yield Repair(
                "padding side",
                f"the port pads {before} before and {total - before} after; {left} "
                f"before and {right} after fits",
                _chain(pad, unpadded),
            )


def gate_order(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """The gates of an LSTM or GRU are in another order, in all arrays or in one."""
    module: Any = segment.module_of(node)
    arrays = {}
    n_gates = 0
    for name, tensor in _float_tensors(module).items():
        if "weight_" in name or "bias_" in name:
            arrays[name] = tensor
        if name.endswith("weight_hh_l0"):  # [gates * units, units]
            n_gates = len(tensor) // tensor.shape[1]
    if not n_gates:
        return
    subsets = [list(arrays), *([name] for name in arrays)]
    orders = itertools.permutations(range(n_gates))
    for names, order in itertools.product(subsets, orders):
        changed = {}
        for name in names:
            gates = arrays[name].chunk(n_gates)
            changed[name] = torch.cat([gates[index] for index in order])
        detail = f"the gates of {', '.join(names)} must be taken in the order {order}"
        yield Repair("gate order", detail, _with_tensors(module, changed))


def missing_activation(segment: Segment, node: fx.Node) -> Iterator[Repair]:
    """The layer has no activation."""
    if node is not segment.target:
        return
    dim = 1 if node.meta.get("layout") == CHANNELS_FIRST else -1
    activations = {}
    for name in (*ACTIVATIONS, *OVER_CHANNELS):
        making = making_of(name, 3, dim)
        if making is not None and name != "linear":
            module_class, options = making
            activations[name] = module_class(**options)
    if type(segment.module_of(node)) in map(type, activations.values()):
        return  # it has one
    for name, activation in activations.items():
        activated = _chain(partial(segment.call, node), activation)
        yield Repair("missing activation", f"{name} after it fits", activated)


#: The mistakes that are tried.
HYPOTHESES: tuple[Callable[[Segment, fx.Node], Iterator[Repair]], ...] = (
    transposed_kernel,
    flatten_order,
    batch_norm_epsilon,
    padding_side,
    gate_order,
    missing_activation,
)


def _chain(
    first: Callable[..., Tensor], second: Callable[[Tensor], Tensor]
) -> Callable[..., Tensor]:
    """Return a function that applies two functions one after the other."""
    return lambda *args, **kwargs: second(first(*args, **kwargs))


def _float_tensors(module: nn.Module | None) -> dict[str, Tensor]:
    """Return a module's parameters and buffers in floating point, by their path."""
    if module is None:
        return {}
    tensors = {}
    for name, x in (*module.named_parameters(), *module.named_buffers()):
        if x.is_floating_point():
            tensors[name] = x.detach()
    return tensors


def _with_tensors(module: Any, changed: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a module with other parameters or buffers, by their path."""
    repaired = copy.deepcopy(module)
    for name, tensor in (*repaired.named_parameters(), *repaired.named_buffers()):
        if name in changed:
            tensor.data = changed[name].contiguous()
    return repaired
