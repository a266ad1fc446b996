"""Explanations that average gradients over many versions of the input: along a path, or
with noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, asked

#: Records that pass through the model at once.
_AT_ONCE = 64

Baseline = float | Tensor | tuple[Tensor, ...]


@EXPLAINERS.register("integrated_gradients")
def integrated_gradients(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    baseline: Baseline = 0.0,
    steps: int = 100,
) -> Inputs:
    """Return integrated gradients on the straight line from a baseline (Sundararajan et
    al. 2017, equation 1).

    The integral is taken by the midpoint rule. In the limit the attributions of a
    record sum to the logit's change from the baseline to the input; `completeness_gap`
    tells by how much they miss it.

    Args:
        model: gives logits ``[B, K]``.
        inputs: a tensor ``[B, ...]`` or a tuple of tensors.
        target: see `ecgnb.explain.base.Target`.
        baseline: a number, or tensors that broadcast to the inputs; 0 is a silent
            recording.
        steps: points on the line.

    Returns:
        Attributions of the inputs' shapes, in logits.

    Raises:
        ConfigError: ``steps`` is below 1 or the baseline does not fit; else as
            `ecgnb.explain.base.asked` tells.
    """
    _check_count("steps", steps)
    with asked(model, inputs, target) as case:
        start = _baseline(baseline, case.inputs)
        ways = tuple(x - low for x, low in zip(case.inputs, start, strict=True))

        def version(step: int) -> tuple[Tensor, ...]:
            return tuple(
                low + (step + 0.5) / steps * way
                for low, way in zip(start, ways, strict=True)
            )

        sums = [torch.zeros_like(x) for x in case.inputs]
        for slopes in _gradients_of_versions(case, version, steps):
            for total, slope in zip(sums, slopes, strict=True):
                total += slope.sum(0)
        return case.pack(
            tuple(way * total / steps for way, total in zip(ways, sums, strict=True))
        )


def completeness_gap(
    model: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Target = None,
    *,
    baseline: Baseline = 0.0,
) -> Tensor:
    """Return by how much a record's attributions miss the logit's change from the
    baseline, ``[B]``, in logits.

    Args:
        model: as for `integrated_gradients`.
        inputs: as for `integrated_gradients`.
        attribution: what a method returned for these inputs.
        target: as given to that method.
        baseline: likewise.

    Returns:
        Sum of the attributions - (logit of the input - logit of the baseline): 0 when
        they are complete.

    Raises:
        ConfigError: the baseline or the attribution does not fit; else as
            `ecgnb.explain.base.asked` tells.
    """
    parts = attribution if isinstance(attribution, tuple) else (attribution,)
    with asked(model, inputs, target) as case, torch.no_grad():
        if [part.shape for part in parts] != [x.shape for x in case.inputs]:
            raise ConfigError(
                f"The attribution has shapes {[list(part.shape) for part in parts]}, the inputs "
                f"{[list(x.shape) for x in case.inputs]}."
            )
        change = case.scores(*case.inputs) - case.scores(
            *_baseline(baseline, case.inputs)
        )
        return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0) - change


@EXPLAINERS.register("smoothgrad")
def smoothgrad(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    noise: float = 0.1,
    samples: int = 50,
    seed: int = 0,
) -> Inputs:
    """Return the mean gradient over noisy copies of the input (Smilkov et al. 2017,
    "SmoothGrad").

    Args:
        model: gives logits ``[B, K]``.
        inputs: a tensor ``[B, ...]`` or a tuple of tensors.
        target: see `ecgnb.explain.base.Target`; the predicted class is that of the
            input without noise.
        noise: standard deviation of the normal noise as a fraction of each record's
            range (maximum - minimum).
        samples: noisy copies.
        seed: of the noise, which is drawn on the CPU in the tensor's own order and the
            same for every record and machine. The same model with its input in another
            layout (``[B, T, C]`` for ``[B, C, T]``) meets other noise, so its map
            differs by the error of the estimate, which falls with the root of
            ``samples``.

    Returns:
        Attributions of the inputs' shapes, in logits per unit of the input.

    Raises:
        ConfigError: ``samples`` is below 1 or ``noise`` negative; else as
            `ecgnb.explain.base.asked` tells.
    """
    with asked(model, inputs, target) as case:
        mean, _ = _noisy_moments(case, noise, samples, seed)
        return case.pack(mean)


@EXPLAINERS.register("vargrad")
def vargrad(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    noise: float = 0.1,
    samples: int = 50,
    seed: int = 0,
) -> Inputs:
    """Return the variance of the gradient over noisy copies of the input (Adebayo et
    al. 2018, "Sanity checks").

    Arguments and errors as `smoothgrad`; the variance is that of the ``samples``
    gradients (division by their number), never negative.
    """
    with asked(model, inputs, target) as case:
        _, variance = _noisy_moments(case, noise, samples, seed)
        return case.pack(variance)


def _noisy_moments(
    case: Case, noise: float, samples: int, seed: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return mean and variance of the gradients over noisy copies, updated chunk by
    chunk (Chan et al. 1979).
    """
    _check_count("samples", samples)
    if not noise >= 0:
        raise ConfigError(
            f"noise is {noise!r}; give a fraction of the input's range, at least 0."
        )
    generator = torch.Generator().manual_seed(seed)
    widths = [
        noise * (x.flatten(1).amax(1) - x.flatten(1).amin(1)) for x in case.inputs
    ]

    def version(_: int) -> tuple[Tensor, ...]:
        return tuple(
            x
            + width.view(-1, *[1] * (x.ndim - 1))
            * torch.randn(x.shape[1:], generator=generator).to(x)
            for x, width in zip(case.inputs, widths, strict=True)
        )

    means = [torch.zeros_like(x) for x in case.inputs]
    squares = [torch.zeros_like(x) for x in case.inputs]
    seen = 0
    for slopes in _gradients_of_versions(case, version, samples):
        count = len(slopes[0])
        for mean, square, slope in zip(means, squares, slopes, strict=True):
            centre = slope.mean(0)
            away = centre - mean
            square += (slope - centre).square().sum(0) + away.square() * (
                seen * count / (seen + count)
            )
            mean += away * (count / (seen + count))
        seen += count
    return tuple(means), tuple(square / samples for square in squares)


def _gradients_of_versions(
    case: Case, version: Callable[[int], tuple[Tensor, ...]], count: int
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the gradients ``[k, B, ...]`` of ``count`` versions of the inputs, k of
    them at a time.
    """
    n_records = len(case.inputs[0])
    chunk = max(1, _AT_ONCE // n_records)
    for first in range(0, count, chunk):
        versions = [
            version(number) for number in range(first, min(first + chunk, count))
        ]
        stacked = [torch.cat(parts) for parts in zip(*versions, strict=True)]
        slopes = case.gradients(*stacked)
        yield tuple(slope.unflatten(0, (len(versions), n_records)) for slope in slopes)


def _baseline(baseline: Baseline, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    given = baseline if isinstance(baseline, tuple) else (baseline,) * len(inputs)
    try:
        return tuple(
            torch.as_tensor(low).to(x).expand_as(x)
            for low, x in zip(given, inputs, strict=True)
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"The baseline does not fit inputs of shapes {[list(x.shape) for x in inputs]}: {error}. Give a number, or "
            "tensors that broadcast to the inputs."
        ) from error


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number above 0.")
