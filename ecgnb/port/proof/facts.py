"""What can be said of a difference whose cause is unknown: where it is, and how
large.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecgnb.port.proof.record import in_keras_layout
from ecgnb.port.proof.segment import Segment
from ecgnb.port.proof.trial import at_kept_steps, differing_channels, places

#: A difference within this many steps of either end only is told as one at the edges.
EDGE = 16


def facts_of(segment: Segment) -> str:
    """Return where a layer differs from the reference, in a few sentences."""
    output, stored = segment.values[segment.target], segment.stored
    whole = tuple(in_keras_layout(segment.target, output).shape)
    if whole != stored.shape:
        return f"The port's output has the shape {list(whole)}, the reference's {list(stored.shape)}."
    values = at_kept_steps(segment, segment.target, output)
    if not np.isfinite(values).all():
        return f"The port gives {int((~np.isfinite(values)).sum())} values that are NaN or infinite."
    gaps = np.abs(values.astype(np.float64) - stored.values)
    if not gaps.size or not gaps.max() > segment.rtol * stored.scale:
        return "At the time steps that the reference keeps the layer agrees; its mean or its maximum over all does not."
    return " ".join(_sentences(segment, values, gaps))


def _sentences(segment: Segment, values: np.ndarray, gaps: np.ndarray) -> Iterator[str]:
    limit, stored = segment.rtol * segment.stored.scale, segment.stored
    channels = differing_channels(segment)
    every = len(channels) == gaps.shape[-1]
    yield (
        f"It differs in {'all' if every else f'{len(channels)} of'} {gaps.shape[-1]} channels"
        + ("." if every else f" ({places(channels)}).")
    )
    samples = np.flatnonzero(gaps.reshape(len(gaps), -1).max(axis=1) > limit)
    if len(samples) < len(gaps):
        yield f"Only the samples {places(samples)} of {len(gaps)} differ."
    if gaps.ndim == 3:
        yield _times(gaps, limit, stored.shape[1], stored.steps)
    worst = np.unravel_index(int(gaps.argmax()), gaps.shape)
    yield (
        f"The largest difference is {gaps.max():.3g} (scale {stored.scale:.3g}): the port gives {values[worst]:.6g}, "
        f"the reference {stored.values[worst]:.6g}."
    )


def _times(
    gaps: np.ndarray, limit: float, length: int, steps: np.ndarray | None
) -> str:
    kept = np.arange(length) if steps is None else steps
    wrong = kept[gaps.max(axis=(0, 2)) > limit]
    right = kept[gaps.max(axis=(0, 2)) <= limit]
    inner = wrong[(wrong >= EDGE) & (wrong < length - EDGE)]
    if len(right) and not len(inner) and length > 2 * EDGE:
        return f"It differs at the edges only (time steps {places(wrong)} of {length}), which points to padding."
    return f"It differs at {len(wrong)} of {len(kept)} time steps, from {wrong.min()} to {wrong.max()} of {length}."
