"""Repairs of a layer by numbers: epsilon, activation, bias, a single weight, a
factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ecgnb.port.layers.activation import ACTIVATIONS, OVER_CHANNELS, making_of
from ecgnb.port.modules.keras_activation import ClippedReLU, HardSigmoid, ParametricReLU
from ecgnb.port.proof.record import in_keras_layout
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
    tensors_of,
    with_options,
    with_tensors,
)

#: Activations that not all versions of Keras have; rare, so they are tried after the
#: others.
RARE = (
    "hard_sigmoid", "celu", "hard_shrink", "hard_silu", "hard_tanh", "log_sigmoid", "soft_shrink", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh_shrink",
)  # fmt: skip
#: Modules of activations whose options cannot be guessed; another may stand in their
#: place.
WITH_OPTIONS = (ClippedReLU, ParametricReLU, nn.PReLU, nn.Threshold)
#: What an input must be multiplied by where units or polarity are wrong.
UNITS = {
    -1.0: "polarity of the input",
    1e-3: "units of the input",
    1e3: "units of the input",
}
#: Values of epsilon that libraries use.
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 1e-4, 1e-2, 0.1, 0.0)
#: An epsilon is named when every channel agrees to this part of its own scale,
CHANNEL_RTOL = 1e-4
#: or to this part of the layer's, which is what float32 leaves.
FLOAT32_ERROR = 2e-6
#: Layers with more wrong channels than this are not searched for a single wrong weight.
FEW_CHANNELS = 4
#: A per-channel fit has two unknowns; it tells something with several times that many
#: values.
ENOUGH = 8


def epsilon(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """A normalisation has another epsilon, one that libraries use, and with it every
    channel agrees.
    """
    module = segment.module_of(node)
    own = getattr(module, "eps", None)
    if module is None or not isinstance(own, float):
        return
    kind = "BatchNorm epsilon" if isinstance(module, nn.BatchNorm1d) else "epsilon"
    for value in EPSILONS:
        trial = Trial(
            kind,
            f"the port has {own:g}; {value:g} fits",
            {node: with_options(module, eps=value)},
        )
        if _fits_every_channel(segment, trial):
            yield trial


def _fits_every_channel(segment: Segment, trial: Trial) -> bool:
    """Whether a repair holds on the scale of each channel, so that a large one does not
    hide the small ones.
    """
    found, wanted = (
        at_kept_steps(segment, segment.target, segment.run(trial.swaps)),
        segment.stored.values,
    )
    over = tuple(range(wanted.ndim - 1))
    gaps, scales = np.abs(found - wanted).max(axis=over), np.abs(wanted).max(axis=over)
    return bool(
        (
            gaps
            <= np.maximum(CHANNEL_RTOL * scales, FLOAT32_ERROR * segment.stored.scale)
        ).all()
    )


def input_units(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The first layer gets the ECG upside down or in other units, or its kernel is
    so.
    """
    given = first_tensor(segment, node)
    if (
        given is None
        or not tensors_of(segment.module_of(node))
        or not _is_first(segment)
    ):
        return
    for times, kind in UNITS.items():
        detail = f"{times:g} times the input (or the kernel) fits"
        yield Trial(
            kind, detail, on_first(segment, node, partial(torch.mul, other=times))
        )


def _is_first(segment: Segment) -> bool:
    return any(each.op == "placeholder" for each in segment.sources)


def variance_or_deviation(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The variance stands where its root is wanted, or the other way."""
    module = segment.module_of(node)
    if isinstance(module, nn.BatchNorm1d) and module.running_var is not None:
        for words, right in (
            ("a standard deviation", module.running_var**2),
            ("a square", module.running_var.sqrt()),
        ):
            detail = f"running_var holds {words} of what is wanted"
            yield Trial(
                "variance", detail, {node: with_tensors(module, {"running_var": right})}
            )


def activation(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The activation is missing, another one, or one too many."""
    own = segment.module_of(node)
    known = list(_activations(channel_axis(node)))
    acts = {type(make) for _, make in known} | set(WITH_OPTIONS)
    for name, make in known:
        if type(own) in acts and not isinstance(own, nn.Identity):
            words = "no activation" if name == "linear" else name
            kind = "activation too many" if name == "linear" else "other activation"
            yield Trial(kind, f"the port has {own}; {words} fits", {node: make})
        elif node is segment.target and name != "linear":
            yield Trial(
                "missing activation",
                f"{name} after it fits",
                on_output(segment, node, make),
            )


def _activations(dim: int) -> Iterator[tuple[str, nn.Module]]:
    # None comes first: where it fits, elu may fit as well, which leaves positive
    # numbers as they are.
    for name in dict.fromkeys(("linear", *ACTIVATIONS, *OVER_CHANNELS, *RARE)):
        making = making_of(name, 3, dim)
        if making is not None:
            yield name, making[0](**making[1])
    yield "hard_sigmoid (of Keras 2)", HardSigmoid()
    for slope in (0.01, 0.1, 0.3):
        yield f"LeakyReLU with a slope of {slope}", nn.LeakyReLU(slope)
    for alpha in (0.1, 0.2, 0.3, 0.5):
        yield f"ELU with an alpha of {alpha}", nn.ELU(alpha)
    yield "gelu (approximated by tanh)", nn.GELU("tanh")


def bias(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """A bias is missing or wrong: the difference before the activation is the same at
    all times.
    """
    before = _before(segment, node)
    if before is None:
        return
    wanted, mine, valid = before
    channels = differing_channels(segment)
    offsets = np.array(
        [_middle((wanted - mine)[..., c][valid[..., c]]) for c in range(mine.shape[-1])]
    )
    offsets[np.setdiff1d(np.arange(len(offsets)), channels)] = 0
    whole = (
        in_keras_layout(node, segment.values[node])
        .cpu()
        .numpy()
        .reshape(-1, len(offsets))
    )
    silent = np.setdiff1d(
        channels, np.flatnonzero(valid.reshape(-1, len(offsets)).any(axis=0))
    )
    offsets[silent] = -whole.max(axis=0)[
        silent
    ]  # a ReLU of the reference is shut: only a bound is known
    own = tensors_of(segment.module_of(node)).get("bias")
    state = "there is none in the port"
    if own is not None and len(own) == len(offsets):
        state = (
            "it is 0 in the port"
            if not own[channels].any()
            else f"the port has {_numbers(own[channels])}"
        )
        offsets_found = own.cpu().numpy()[channels] + offsets[channels]
    else:
        offsets_found = offsets[channels]
    detail = f"adding a constant to the channels {places(channels)} fits (bias {_numbers(offsets_found)}; {state})"
    yield Trial(
        "bias", detail, on_output(segment, node, lambda x: x + _along(offsets, x, node))
    )


def single_weight(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """One weight of a channel is wrong: the difference is one column of the input times
    a number.
    """
    module, before = segment.module_of(node), _before(segment, node)
    channels = differing_channels(segment)
    if (
        not isinstance(module, nn.Conv1d | nn.Linear)
        or before is None
        or len(channels) > FEW_CHANNELS
    ):
        return
    columns = _columns(segment, node, module)
    if columns is None:
        return
    weight, words = module.weight.detach().clone(), []
    for channel in channels:
        valid = before[2][..., channel].reshape(-1)
        gap = (before[0] - before[1])[..., channel].reshape(-1)[valid]
        here = columns[valid]
        change = here.T @ gap / np.maximum((here**2).sum(axis=0), 1e-300)
        place = int(
            np.abs(gap[:, None] - here * change).max(axis=0, initial=0).argmin()
        )
        where = np.unravel_index(place, weight.shape[1:])
        old = float(weight[(channel, *where)])
        weight[(channel, *where)] += change[place]
        new = float(weight[(channel, *where)])
        words.append(
            f"weight[{', '.join(map(str, (channel, *where)))}] is {old:.6g}, {new:.6g} fits"
        )
    yield Trial(
        "single weight",
        "; ".join(words),
        {node: with_tensors(module, {"weight": weight})},
    )


def factor(segment: Segment, node: fx.Node) -> Iterator[Trial]:
    """The output is too large or too small by one factor, or each channel by its own
    factor and offset.
    """
    if node is not segment.target:
        return
    mine, wanted = (
        at_kept_steps(segment, node, segment.values[node]),
        segment.stored.values,
    )
    if mine.shape != wanted.shape or not (mine**2).sum() > 0:
        return
    times = float((mine * wanted).sum() / (mine**2).sum())
    yield Trial(
        "scale",
        f"{times:.6g} times the port's output fits",
        on_output(segment, node, lambda x: x * times),
    )
    fit = _channel_fit(segment, node)
    if fit is not None:
        slope, offset = fit
        yield Trial(
            "scale of each channel",
            "a factor and an offset for each channel fit: a normalisation, its gamma or its beta is missing or wrong",
            on_output(
                segment,
                node,
                lambda x: x * _along(slope, x, node) + _along(offset, x, node),
            ),
        )


def _channel_fit(
    segment: Segment, node: fx.Node
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit reference = slope * port + offset for each channel before the activation."""
    before = _before(segment, node)
    if before is None:
        return None
    wanted, mine, valid = before
    slope, offset = np.ones(mine.shape[-1]), np.zeros(mine.shape[-1])
    for channel in range(mine.shape[-1]):
        chosen = valid[..., channel]
        x, y = mine[..., channel][chosen], wanted[..., channel][chosen]
        if len(x) < ENOUGH:
            return None
        spread = ((x - x.mean()) ** 2).sum()
        slope[channel] = (
            ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 1.0
        )
        offset[channel] = y.mean() - slope[channel] * x.mean()
    return slope, offset


def _before(
    segment: Segment, node: fx.Node
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return what the reference says a node gives, what it gives, and where the former
    can be told.

    Between the node and the layer's output only activations that can be inverted may
    stand.
    """
    if not isinstance(segment.values[node], Tensor):
        return None
    mine, wanted = (
        at_kept_steps_or_none(segment, node),
        segment.stored.values.astype(np.float64),
    )
    if mine is None or mine.shape != wanted.shape:
        return None
    valid = np.ones(wanted.shape, dtype=bool)
    for later in reversed(segment.nodes[segment.nodes.index(node) + 1 :]):
        inverse = _inverse(segment.module_of(later), later)
        if inverse is None:
            return None
        with np.errstate(all="ignore"):
            wanted, usable = inverse(wanted)
        valid &= usable & np.isfinite(wanted)
    return np.where(valid, wanted, 0.0), mine, valid


def at_kept_steps_or_none(segment: Segment, node: fx.Node) -> np.ndarray | None:
    """Return a node's tensor at the kept time steps, or ``None`` where it has no such
    steps.
    """
    value = in_keras_layout(node, segment.values[node])
    steps = segment.stored.steps
    if steps is not None and (value.ndim < 3 or value.shape[1] <= steps.max()):
        return None
    return at_kept_steps(segment, node, segment.values[node])


def _inverse(
    module: nn.Module | None, node: fx.Node
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None:
    if (node.op == "call_method" and node.target == "transpose") or isinstance(
        module, nn.Dropout | nn.Identity
    ):
        return lambda y: (y, np.ones(y.shape, dtype=bool))
    if isinstance(module, nn.ReLU):
        return lambda y: (y, y > 0)
    if isinstance(module, nn.ELU):
        return lambda y: (
            np.where(y > 0, y, np.log1p(y / module.alpha)),
            y > -0.99 * module.alpha,
        )
    if isinstance(module, nn.Sigmoid):
        return lambda y: (np.log(y / (1 - y)), (y > 1e-3) & (y < 1 - 1e-3))
    if isinstance(module, nn.Tanh):
        return lambda y: (np.arctanh(y), np.abs(y) < 0.99)
    return None


def _columns(
    segment: Segment, node: fx.Node, module: nn.Conv1d | nn.Linear
) -> np.ndarray | None:
    """Return what each weight of one output channel is multiplied with, ``[values of a
    channel, weights]``.
    """
    x = segment.arguments(node)[0][0]
    if isinstance(module, nn.Linear):
        return x.reshape(-1, module.in_features).cpu().numpy()
    if module.groups > 1 or module.padding_mode != "zeros":
        return None
    size, dilation, stride = module.kernel_size[0], module.dilation[0], module.stride[0]
    if module.padding == "same":
        left = (size - 1) * dilation // 2
        x = F.pad(x, (left, (size - 1) * dilation - left))
    elif not isinstance(module.padding, str):
        x = F.pad(x, (module.padding[0], module.padding[0]))
    unfolded = F.unfold(
        x[:, :, None], (1, size), dilation=(1, dilation), stride=(1, stride)
    ).transpose(1, 2)
    steps = segment.stored.steps
    kept = (
        unfolded
        if steps is None
        else unfolded[:, torch.as_tensor(steps.astype(np.int64))]
    )
    return kept.reshape(-1, kept.shape[-1]).cpu().numpy()


def _along(numbers: np.ndarray, x: Any, node: fx.Node) -> Tensor:
    """Shape a number a channel so that it broadcasts over a node's tensor."""
    tensor = torch.as_tensor(numbers, dtype=x.dtype, device=x.device)
    return tensor[:, None] if channel_axis(node) == 1 and x.ndim == 3 else tensor


def _middle(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _numbers(values: Any) -> str:
    listed = [f"{float(value):.5g}" for value in values]
    return ", ".join(listed[:4]) + (" ..." if len(listed) > 4 else "")
