"""`Trial`: one change that would explain a divergent layer, and the list of those that
are tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.proof.record import in_keras_layout
from ecgnb.port.proof.segment import Segment, Swaps


@dataclass(frozen=True)
class Trial:
    """A repair of a piece of the graph.

    Attributes:
        kind: what is wrong, in a few words.
        detail: what the port does, and what fits.
        swaps: what is computed in the place of which node.
    """

    kind: str
    detail: str
    swaps: Swaps


#: Proposes repairs of one node of a piece.
Hypothesis = Callable[[Segment, fx.Node], Iterator[Trial]]


def with_tensors(module: nn.Module, changed: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a module with other parameters or buffers, by their path."""
    other = copy.deepcopy(module)
    named = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    for name, tensor in changed.items():
        named[name].data = tensor.contiguous()
    return other


def with_options(module: nn.Module, **options: Any) -> nn.Module:
    """Return a copy of a module with other attributes."""
    other = copy.deepcopy(module)
    for name, value in options.items():
        setattr(other, name, value)
    return other


def tensors_of(module: nn.Module | None) -> dict[str, Tensor]:
    """Return a module's parameters and buffers in floating point, by their path."""
    if module is None:
        return {}
    named = [*module.named_parameters(), *module.named_buffers()]
    return {
        name: tensor.detach() for name, tensor in named if tensor.is_floating_point()
    }


def at_kept_steps(segment: Segment, node: fx.Node, value: Tensor) -> np.ndarray:
    """Return a node's tensor in Keras' layout, at the time steps that the reference
    keeps.
    """
    values = in_keras_layout(node, value).cpu().numpy()
    steps = segment.stored.steps
    return values if steps is None else values[:, steps]


def differing_channels(segment: Segment) -> np.ndarray:
    """Return the places on the last axis where the layer differs from the reference."""
    values = at_kept_steps(segment, segment.target, segment.values[segment.target])
    if values.shape != segment.stored.values.shape:
        return np.arange(values.shape[-1])
    gaps = (
        np.abs(values - segment.stored.values)
        .reshape(-1, values.shape[-1])
        .max(axis=0, initial=0)
    )
    return np.flatnonzero(~(gaps <= segment.rtol * segment.stored.scale))


def channel_axis(node: fx.Node) -> int:
    """Return the axis of a node's tensor that holds the channels."""
    return 1 if node.meta.get("layout") == CHANNELS_FIRST else -1


def first_tensor(segment: Segment, node: fx.Node) -> tuple[fx.Node, Tensor] | None:
    """Return the first tensor that enters a node, and the node that makes it."""
    for each in node.all_input_nodes:
        if isinstance(segment.values[each], Tensor):
            return each, segment.values[each]
    return None


def on_first(
    segment: Segment, node: fx.Node, change: Callable[[Tensor], Tensor]
) -> Swaps:
    """Compute a node with its first argument changed."""
    return {
        node: lambda first, *rest, **kwargs: segment.call(
            node, change(first), *rest, **kwargs
        )
    }


def on_output(
    segment: Segment, node: fx.Node, change: Callable[[Tensor], Tensor]
) -> Swaps:
    """Change what a node gives."""
    return {node: lambda *args, **kwargs: change(segment.call(node, *args, **kwargs))}


def places(numbers: np.ndarray | list[int], shown: int = 8) -> str:
    """Return numbers as text, the first few of many.

    >>> places([3]), places([0, 2]), places(list(range(20)), 3)
    ('3', '0 and 2', '0, 1, 2 and 17 more')
    """
    words = [str(int(number)) for number in numbers]
    if len(words) > shown:
        return f"{', '.join(words[:shown])} and {len(words) - shown} more"
    return (
        " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
        if words
        else "none"
    )


def reordered(tensor: Tensor, order: Any, axis: int) -> Tensor:
    """Return a tensor with the places of one axis in another order."""
    return tensor.index_select(axis, torch.as_tensor(list(order), device=tensor.device))
