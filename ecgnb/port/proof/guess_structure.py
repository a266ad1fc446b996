"""Repairs of a layer whose arrays may be right and whose computation is not: padding,
order, axes, pooling, merges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ecgnb.port.modules.basic import (
    Crop1d,
    GlobalAveragePool1d,
    GlobalMaxPool1d,
    SameAvgPool1d,
    SamePad1d,
)
from ecgnb.port.proof.segment import Segment
from ecgnb.port.proof.trial import (
    Trial,
    channel_axis,
    first_tensor,
    on_first,
    on_output,
    with_options,
)

#: Dilations that networks use.
DILATIONS = (1, 2, 3, 4, 8, 16)


def padding_side(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The padding is split in another way, or there is more or less of it."""
    module, given = segment.module_of(node), first_tensor(segment, node)
    if module is None or given is None or given[1].ndim != 3:
        return
    length = given[1].shape[-1]
    if isinstance(module, SamePad1d | nn.ConstantPad1d):
        before, total = _sides(module, given[1])
        for left in sorted(
            range(-1, total + 2), key=lambda each: abs(each - total // 2)
        ):
            if left != before:
                yield _padded(
                    node, before, total, left, total - left, module.value, lambda x: x
                )
    elif (
        isinstance(module, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d)
        and length > 1
        and not _is_padded(segment, node)
    ):
        before, total = _own_padding(module)
        bare = with_options(module, padding=0)
        value = float("-inf") if isinstance(module, nn.MaxPool1d) else 0.0
        spans = sorted(
            {total, _span(module) - 1, max(_span(module) - _number(module.stride), 0)},
            key=lambda s: s != total,
        )
        for span in spans:
            for left in sorted(
                range(-1, span + 2), key=lambda each: abs(each - span // 2)
            ):
                if (left, span) != (before, total):
                    yield _padded(node, before, total, left, span - left, value, bare)


def _padded(
    node: fx.Node,
    before: int,
    total: int,
    left: int,
    right: int,
    value: float,
    then: Callable[[Tensor], Tensor],
) -> Trial:
    words = f"the port pads {before} before and {total - before} after; {left} before and {right} after fits"
    return Trial(
        "padding side",
        words,
        {node: lambda x: then(F.pad(x, (left, right), value=value))},
    )


def _is_padded(segment: Segment, node: fx.Node) -> bool:
    """Whether a padding module stands before a node; then that is the one to repair."""
    return any(
        isinstance(segment.module_of(each), SamePad1d | nn.ConstantPad1d)
        for each in node.all_input_nodes
    )


def _sides(module: nn.Module, x: Tensor) -> tuple[int, int]:
    """Return what a padding module puts before, and in all."""
    if isinstance(module, nn.ConstantPad1d):
        return int(module.padding[0]), int(sum(module.padding))
    total = module(x).shape[-1] - x.shape[-1]
    return total // 2, total


def _own_padding(module: nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d) -> tuple[int, int]:
    if module.padding == "same":
        return (_span(module) - 1) // 2, _span(module) - 1
    each = 0 if isinstance(module.padding, str) else _number(module.padding)
    return each, 2 * each


def _span(module: nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d) -> int:
    return (_number(module.kernel_size) - 1) * _number(
        getattr(module, "dilation", 1)
    ) + 1


def _number(value: int | tuple[int, ...]) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def cropping_side(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """What is cut off lies at the other end."""
    module = segment.module_of(node)
    if isinstance(module, Crop1d):
        total = module.left + module.right
        for left in set(range(total + 1)) - {module.left}:
            words = f"the port cuts {module.left} before and {module.right} after; {left} and {total - left} fits"
            yield Trial(
                "cropping side",
                words,
                {node: with_options(module, left=left, right=total - left)},
            )


def dilation(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The taps of a kernel lie nearer together or further apart, the output being as
    long as before.
    """
    module = segment.module_of(node)
    if not isinstance(module, nn.Conv1d) or _number(module.kernel_size) == 1:
        return
    for gap in DILATIONS:
        total = (_number(module.kernel_size) - 1) * gap
        sides = (total // 2, total - total // 2) if module.padding == "same" else (0, 0)
        other = with_options(module, padding=0, dilation=(gap,))
        words = f"the port has {_number(module.dilation)}; {gap} fits"
        yield Trial(
            "dilation",
            words,
            {node: lambda x, sides=sides, other=other: other(F.pad(x, sides))},
        )


def padding_value(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """What is padded is zero where it must be minus infinity, or the other way."""
    module = segment.module_of(node)
    if isinstance(module, SamePad1d | nn.ConstantPad1d):
        for value in (0.0, float("-inf")):
            if value != module.value:
                other = with_options(module, value=value)
                yield Trial(
                    "padding value",
                    f"the port pads with {module.value:g}; {value:g} fits",
                    {node: other},
                )


def other_pooling(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """Another kind of pooling, or one that counts what was padded."""
    module = segment.module_of(node)
    for words, other in _poolings(module):
        yield Trial(
            "pooling",
            f"the port has {type(module).__name__}; {words} fits",
            {node: other},
        )


def _poolings(module: nn.Module | None) -> Iterator[tuple[str, Callable[..., Tensor]]]:
    if isinstance(module, nn.MaxPool1d):
        yield "the mean", nn.AvgPool1d(module.kernel_size, module.stride)
    elif isinstance(module, nn.AvgPool1d):
        size, stride = _number(module.kernel_size), _number(module.stride)
        yield "the maximum", nn.MaxPool1d(size, stride)
        yield "a mean that leaves out what was padded", SameAvgPool1d(size, stride)
        yield (
            "a mean of another count of the padding",
            with_options(module, count_include_pad=not module.count_include_pad),
        )
    elif isinstance(module, SameAvgPool1d):
        size, stride = module.kernel_size, module.stride
        padded = SamePad1d(size, stride)
        yield (
            "a mean that counts the padding",
            lambda x: F.avg_pool1d(padded(x), size, stride),
        )
    elif isinstance(module, GlobalAveragePool1d):
        yield "the maximum", GlobalMaxPool1d(module.keepdim)
    elif isinstance(module, GlobalMaxPool1d):
        yield "the mean", GlobalAveragePool1d(module.keepdim)


def flatten_order(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """Flatten or Reshape takes channels before time."""
    given = first_tensor(segment, node)
    moves = (
        isinstance(segment.module_of(node), nn.Flatten)
        or type(segment.module_of(node)).__name__ == "Reshape"
    )
    if (
        given is not None
        and given[1].ndim == 3
        and (moves or node.target in (torch.flatten, torch.reshape))
    ):
        words = "the port flattens channels before time or the other way; exchanging the two fits"
        yield Trial(
            "flatten order", words, on_first(segment, node, lambda x: x.transpose(1, 2))
        )
    out = segment.values[node]
    if given is not None and moves and given[1].ndim == 3 and out.ndim == 2:
        time, channels = given[1].shape[1:]
        words = "the port flattens channel-major; Keras' time-major order fits"
        yield Trial(
            "flatten order",
            words,
            on_output(
                segment,
                node,
                lambda x: (
                    x.reshape(-1, channels, time).transpose(1, 2).reshape(x.shape)
                ),
            ),
        )


def softmax_axis(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The softmax runs over another axis."""
    module, given = segment.module_of(node), first_tensor(segment, node)
    if isinstance(module, nn.Softmax | nn.LogSoftmax) and given is not None:
        for axis in range(given[1].ndim):
            words = f"the port takes it over dimension {module.dim}, {axis} fits"
            yield Trial("softmax axis", words, {node: with_options(module, dim=axis)})


def time_reversed(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The signal runs backwards."""
    given = first_tensor(segment, node)
    if node.target is torch.flip:
        yield Trial(
            "time direction",
            "leaving out a reversal of time fits",
            {node: lambda x, *rest: x},
        )
    if segment.module_of(node) is not None and given is not None and given[1].ndim == 3:
        back = _time_axis(given[0])
        yield Trial(
            "time direction",
            "reversing time fits",
            on_first(segment, node, lambda x: x.flip(back)),
        )
    if isinstance(segment.values[node], Tensor) and segment.values[node].ndim == 3:
        axis = _time_axis(node)
        yield Trial(
            "time direction",
            "reversing the output fits",
            on_output(segment, node, lambda x: x.flip(axis)),
        )


def _time_axis(node: fx.Node) -> int:
    return 2 if channel_axis(node) == 1 else 1


MERGES: dict[str, Callable[..., Tensor]] = {
    "the sum": lambda *xs: sum(xs[1:], xs[0]),
    "the difference": lambda a, b, *_: a - b,
    "the product": lambda a, b, *rest: torch.stack(
        torch.broadcast_tensors(a, b, *rest)
    ).prod(0),
    "the mean": lambda *xs: sum(xs[1:], xs[0]) / len(xs),
    "the maximum": lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0),
    "the minimum": lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amin(0),
}


def merge_order(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The inputs of a merge come in another order, or are merged in another way."""
    tensors = [each for each in node.args if isinstance(each, fx.Node)]
    listed = isinstance(node.args[0], list | tuple) if node.args else False
    count = len(node.args[0]) if listed else len(tensors)  # type: ignore[arg-type]
    if not 2 <= count <= 5 or (not listed and count != len(node.args)):
        return
    for order in list(itertools.permutations(range(count)))[1:]:

        def turned(*args: Any, order: tuple[int, ...] = order, **kwargs: Any) -> Any:
            if listed:
                return segment.call(
                    node, [args[0][place] for place in order], *args[1:], **kwargs
                )
            return segment.call(node, *[args[place] for place in order], **kwargs)

        yield Trial(
            "merge order",
            f"taking the inputs in the order {order} fits",
            {node: turned},
        )
    for words, merged in MERGES.items() if not listed else ():
        yield Trial("other merge", f"{words} of the inputs fits", {node: merged})
