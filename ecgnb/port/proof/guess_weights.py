"""Repairs of a layer whose arrays were brought over wrongly: axes, order, gates,
leads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, fx, nn

from ecgnb.port.proof.segment import Segment
from ecgnb.port.proof.trial import (
    Trial,
    at_kept_steps,
    channel_axis,
    differing_channels,
    first_tensor,
    on_first,
    on_output,
    places,
    reordered,
    tensors_of,
    with_tensors,
)

#: Pairs of input channels are tried up to this many channels: no more leads are
#: recorded.
MOST_LEADS = 16
#: Single input channels are negated up to this many.
MOST_NEGATED = 64
#: Output channels are sorted anew up to this many.
MOST_CHANNELS = 512


def kernel_axes(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The axes of a kernel came in another order; Keras' order is the reverse of
    PyTorch's in every layer.
    """
    module = segment.module_of(node)
    for name, tensor in tensors_of(module).items():
        assert module is not None
        rank, shape = tensor.ndim, tuple(tensor.shape)
        for order in itertools.permutations(range(rank)) if rank > 1 else ():
            if order == tuple(reversed(range(rank))):
                continue
            laid = tensor.reshape([shape[::-1][axis] for axis in order])
            kept = laid.permute([order.index(axis) for axis in range(rank)])
            yield from _mended(
                segment,
                node,
                name,
                kept.permute(tuple(reversed(range(rank)))),
                *_axes_words(order, rank),
            )


def _axes_words(order: tuple[int, ...], rank: int) -> tuple[str, str]:
    if order == tuple(range(rank)):
        if rank == 2:
            return (
                "kernel not transposed",
                "holds Keras' [in, out] in PyTorch's shape; transposing it fits",
            )
        return (
            "kernel reshaped instead of permuted",
            "holds Keras' numbers in PyTorch's shape; permuting the axes fits",
        )
    if order == (1, 2, 0):
        return (
            "transposed kernel",
            "has input and output channels exchanged; exchanging them back fits",
        )
    return (
        "transposed kernel",
        f"holds Keras' axes in the order {order} instead of {tuple(reversed(range(rank)))}",
    )


def kernel_flipped(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """A kernel runs backwards in time."""
    for name, tensor in tensors_of(segment.module_of(node)).items():
        if tensor.ndim == 3 and tensor.shape[-1] > 1:
            yield from _mended(
                segment,
                node,
                name,
                tensor.flip(-1),
                "flipped kernel",
                "is reversed in time; reversing it fits",
            )


def kernel_shifted(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """A kernel's taps are moved by one place, the last one to the other end."""
    for name, tensor in tensors_of(segment.module_of(node)).items():
        for shift in (1, -1) if tensor.ndim == 3 and tensor.shape[-1] > 2 else ():
            words = (
                f"is moved in time; moving its taps by {shift} (around the end) fits"
            )
            yield from _mended(
                segment, node, name, tensor.roll(shift, -1), "shifted kernel", words
            )


def _mended(
    segment: Segment, node: fx.Node, name: str, right: Tensor, kind: str, words: str
) -> Iterator[Trial]:
    """Replace an array: all of it, then only where the layer's output differs, in rows
    of single channels.
    """
    module = segment.module_of(node)
    assert module is not None
    yield Trial(kind, f"{name} {words}", {node: with_tensors(module, {name: right})})
    wrong, rows = tensors_of(module)[name], differing_channels(segment)
    if (
        isinstance(module, nn.Conv1d | nn.Linear)
        and 0 < len(rows) < len(wrong)
        and rows.max() < len(wrong)
    ):
        mixed = wrong.clone()
        mixed[rows] = right[rows]
        detail = f"{name} {words} in the output channels {places(rows)}"
        yield Trial(kind, detail, {node: with_tensors(module, {name: mixed})})


def arrays_exchanged(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """Two arrays of one shape stand in each other's place, such as gamma and beta."""
    module = segment.module_of(node)
    named = tensors_of(module)
    for one, other in itertools.combinations(named, 2):
        if named[one].shape == named[other].shape and module is not None:
            swapped = with_tensors(module, {one: named[other], other: named[one]})
            keras = {
                "weight": "gamma",
                "bias": "beta",
                "running_mean": "mean",
                "running_var": "variance",
            }
            norm = "running_mean" in named
            words = [
                f"{name} ({keras[name]})" if norm and name in keras else name
                for name in (one, other)
            ]
            yield Trial(
                "arrays exchanged",
                f"{words[0]} and {words[1]} stand in each other's place",
                {node: swapped},
            )


def parts_exchanged(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """Two parts of a layer have each other's arrays: queries and keys, or forwards and
    backwards.
    """
    module = segment.module_of(node)
    if module is None:
        return
    children = {name: tensors_of(child) for name, child in module.named_children()}
    for one, other in itertools.combinations(children, 2):
        if _alike(children[one], children[other]):
            arrays = {
                f"{one}.{name}": tensor for name, tensor in children[other].items()
            }
            arrays |= {
                f"{other}.{name}": tensor for name, tensor in children[one].items()
            }
            words = f"{one} and {other} have each other's arrays"
            yield Trial("parts exchanged", words, {node: with_tensors(module, arrays)})
    for later in segment.nodes[segment.nodes.index(node) + 1 :]:
        second = segment.module_of(later)
        if (
            second is not None
            and type(second) is type(module)
            and _alike(tensors_of(module), tensors_of(second))
        ):
            words = f"{node.target} and {later.target} have each other's arrays"
            yield Trial("parts exchanged", words, {node: second, later: module})


def _alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return bool(one) and {k: v.shape for k, v in one.items()} == {
        k: v.shape for k, v in other.items()
    }


def gate_order(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The gates of a recurrent layer came in another order, in all arrays or in one."""
    module = segment.module_of(node)
    named = {
        name: tensor
        for name, tensor in tensors_of(module).items()
        if "weight_" in name or "bias_" in name
    }
    state = next(
        (tensor for name, tensor in named.items() if name.endswith("weight_hh_l0")),
        None,
    )
    if module is None or state is None or len(state) == state.shape[1]:
        return
    gates = len(state) // state.shape[1]
    for chosen in [list(named), *([name] for name in named)]:
        for order in list(itertools.permutations(range(gates)))[1:]:
            sorted_ = {
                name: torch.cat([named[name].chunk(gates)[place] for place in order])
                for name in chosen
                if len(named[name]) % gates == 0
            }
            detail = (
                f"the gates of {', '.join(chosen)} must be taken in the order {order}"
            )
            yield Trial("gate order", detail, {node: with_tensors(module, sorted_)})


def leads_swapped(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """Two input channels stand in each other's place, or all in reverse."""
    given = first_tensor(segment, node)
    if segment.module_of(node) is None or given is None or given[1].ndim < 2:
        return
    axis, leads = channel_axis(given[0]), given[1].shape[channel_axis(given[0])]
    what = (
        "leads"
        if any(each.op == "placeholder" for each in segment.sources)
        else "input channels"
    )
    pairs = itertools.combinations(range(leads), 2) if 2 <= leads <= MOST_LEADS else ()
    for one, other in pairs:
        order = list(range(leads))
        order[one], order[other] = other, one
        yield Trial(
            f"{what} swapped",
            f"{what} {one} and {other} (counted from 0) stand in each other's place",
            on_first(segment, node, partial(reordered, order=tuple(order), axis=axis)),
        )
    yield Trial(
        f"{what} reversed",
        f"all {what} come in reverse order",
        on_first(segment, node, lambda x: x.flip(axis)),
    )


def lead_negated(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """One input channel, or the kernel for it, has the wrong sign."""
    given = first_tensor(segment, node)
    if not tensors_of(segment.module_of(node)) or given is None or given[1].ndim < 2:
        return
    axis = channel_axis(given[0])
    count = given[1].shape[axis]
    for channel in range(count) if 2 <= count <= MOST_NEGATED else ():
        right = partial(_negated, channel=channel, axis=axis)
        detail = f"input channel {channel} (counted from 0) with the other sign fits"
        yield Trial("sign of an input channel", detail, on_first(segment, node, right))


def _negated(x: Tensor, channel: int, axis: int) -> Tensor:
    return x.index_copy(
        axis, torch.tensor([channel], device=x.device), -x.narrow(axis, channel, 1)
    )


def flatten_order_of_kernel(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The columns of a matrix behind a Flatten are sorted for another order of
    flattening.
    """
    module = segment.module_of(node)
    if not isinstance(module, nn.Linear):
        return
    before = _flattened_shape(segment, node)
    if before is None or before[0] * before[1] != module.in_features:
        return
    time, channels = before
    weight = module.weight.detach()
    for one, other, words in (
        (channels, time, "channel-major"),
        (time, channels, "time-major"),
    ):
        right = weight.reshape(-1, one, other).transpose(1, 2).reshape(weight.shape)
        yield Trial(
            "flatten order",
            f"the columns of weight are sorted {words}, what Flatten gives is not; sorting them fits",
            {node: with_tensors(module, {"weight": right})},
        )


def _flattened_shape(segment: Segment, node: fx.Node) -> tuple[int, int] | None:
    """Return time and channels of what the nearest Flatten above was given."""
    while node.all_input_nodes:
        above = node.all_input_nodes[0]
        if isinstance(segment.module_of(node), nn.Flatten):
            shape = segment.values[above].shape
            return (int(shape[1]), int(shape[2])) if len(shape) == 3 else None
        node = above
    return None


def table_shifted(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The rows of an embedding are counted from another number."""
    module = segment.module_of(node)
    if isinstance(module, nn.Embedding):
        for shift in (1, -1):
            rolled = with_tensors(
                module, {"weight": module.weight.detach().roll(shift, 0)}
            )
            yield Trial(
                "rows of the table shifted",
                f"the table's rows moved by {shift} fit",
                {node: rolled},
            )


def arrays_of_another_layer(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The layer holds the arrays of another layer of the same shapes."""
    module = segment.module_of(node)
    if module is None or not tensors_of(module):
        return
    for path, other in segment.module.named_modules():
        named = (
            tensors_of(other)
            if type(other) is type(module) and other is not module
            else {}
        )
        if _alike(named, tensors_of(module)):
            swapped = with_tensors(module, named)
            yield Trial(
                "arrays of another layer",
                f"the arrays that {path} has in the port fit here",
                {node: swapped},
            )


def channels_permuted(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The layer's output channels came in another order: each is found at another
    place.
    """
    values = at_kept_steps(segment, segment.target, segment.values[segment.target])
    wanted, count = segment.stored.values, values.shape[-1]
    if (
        node is not segment.target
        or values.shape != wanted.shape
        or not 2 <= count <= MOST_CHANNELS
    ):
        return
    mine, theirs = (
        np.moveaxis(each, -1, 0).reshape(count, -1).astype(np.float64)
        for each in (values, wanted)
    )
    order = np.array(
        [np.abs(mine - each).max(axis=1, initial=0).argmin() for each in theirs]
    )
    if len(set(order)) == count:
        wrong = differing_channels(segment)
        words = (
            f"the output channels {places(wrong)} are found at {places(order[wrong])}"
        )
        axis = channel_axis(node)
        yield Trial(
            "channel order",
            words,
            on_output(segment, node, lambda x: reordered(x, order, axis)),
        )
