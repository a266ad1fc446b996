"""Explanations by gradients averaged over versions of the input: integrated gradients,
SmoothGrad, VarGrad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, Tensors, prepared

#: Records that pass through the model at once.
MAX_RECORDS = 64

Baseline = float | Tensor | Tensors


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
    record sum to the logit's change from the baseline to the input.

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
        ConfigError: ``steps`` is below 1 or the baseline does not fit; else see
            `ecgnb.explain.base.prepared`.
    """
    _check_count("steps", steps)
    with prepared(model, inputs, target) as case:
        starts = _baselines(baseline, case.inputs)
        spans = list(map(torch.sub, case.inputs, starts))

        def version(step: int) -> Tensors:
            fraction = (step + 0.5) / steps  # midpoint rule
            line = zip(starts, spans, strict=True)
            return tuple(start + fraction * span for start, span in line)

        sums = list(map(torch.zeros_like, case.inputs))
        for gradients in _gradients_of_versions(case, version, steps):
            for total, gradient in zip(sums, gradients, strict=True):
                total += gradient.sum(0)  # over the versions of a chunk
        integrals = zip(spans, sums, strict=True)
        return case.pack(tuple(span * total / steps for span, total in integrals))


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
        seed: of the noise, which is drawn on the CPU in the tensor's memory order and
            is the same for every record and machine. The same model with its input in
            another layout (``[B, T, C]`` for ``[B, C, T]``) gets other noise, so its
            map differs by the error of the estimate, which falls with the root of
            ``samples``.

    Returns:
        Attributions of the inputs' shapes, in logits per unit of the input.

    Raises:
        ConfigError: ``samples`` is below 1 or ``noise`` negative; else see
            `ecgnb.explain.base.prepared`.
    """
    with prepared(model, inputs, target) as case:
        means, _ = _noisy_moments(case, noise, samples, seed)
        return case.pack(means)


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
    with prepared(model, inputs, target) as case:
        _, variances = _noisy_moments(case, noise, samples, seed)
        return case.pack(variances)


def _noisy_moments(
    case: Case, noise: float, samples: int, seed: int
) -> tuple[Tensors, Tensors]:
    """Return mean and variance of the gradients over noisy copies, updated chunk by
    chunk (Chan et al. 1979).
    """
    _check_count("samples", samples)
    if not noise >= 0:
        raise ConfigError(
            f"noise is {noise!r}; give a fraction of the input's range, at least 0."
        )
    generator = torch.Generator().manual_seed(seed)
    deviations = []
    for x in case.inputs:
        values = x.flatten(1)
        deviation = noise * (values.amax(1) - values.amin(1))  # [B]
        shape = (-1, *[1] * (x.ndim - 1))  # broadcasts over the record
        deviations.append(deviation.view(shape))

    def version(_: int) -> Tensors:
        noisy = []
        for x, deviation in zip(case.inputs, deviations, strict=True):
            # one for all records
            normal = torch.randn(x.shape[1:], generator=generator).to(x)
            noisy.append(x + deviation * normal)
        return tuple(noisy)

    means = list(map(torch.zeros_like, case.inputs))
    squares = list(map(torch.zeros_like, case.inputs))
    seen = 0
    for gradients in _gradients_of_versions(case, version, samples):
        count = len(gradients[0])  # versions in this chunk
        for mean, square, gradient in zip(means, squares, gradients, strict=True):
            chunk_mean = gradient.mean(0)
            shift = chunk_mean - mean
            within = (gradient - chunk_mean).square().sum(0)
            # of the chunk's mean and all before
            between = shift.square() * (seen * count / (seen + count))
            square += within + between
            mean += shift * (count / (seen + count))
        seen += count
    return tuple(means), tuple(square / samples for square in squares)


def _gradients_of_versions(
    case: Case, version: Callable[[int], Tensors], count: int
) -> Iterator[Tensors]:
    """Yield the gradients ``[k, B, ...]`` of ``count`` versions of the inputs, k of
    them at a time.
    """
    n_records = len(case.inputs[0])
    numbers = torch.arange(count)  # of the versions
    for chunk in numbers.split(max(1, MAX_RECORDS // n_records)):
        versions = [version(number) for number in chunk.tolist()]
        stacked = map(torch.cat, zip(*versions, strict=True))  # [k * B, ...]
        gradients = case.gradients(*stacked)
        yield tuple(x.unflatten(0, (len(versions), n_records)) for x in gradients)


def _baselines(baseline: Baseline, inputs: Tensors) -> Tensors:
    values = baseline if isinstance(baseline, tuple) else (baseline,) * len(inputs)
    starts = []
    try:
        for value, x in zip(values, inputs, strict=True):
            start = torch.as_tensor(value).to(x)
            starts.append(start.expand_as(x))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            "The baseline does not fit inputs of shapes "
            f"{[list(x.shape) for x in inputs]}: {error}. Give a number, or tensors "
            "that broadcast to the inputs."
        ) from error
    return tuple(starts)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number above 0.")
