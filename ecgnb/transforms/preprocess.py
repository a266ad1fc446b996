"""Deterministic transforms: the same in training, evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.transforms.batching import zero_padding
from ecgnb.transforms.filters import (
    band_stop,
    cascade,
    filter_zero_phase,
    high_pass,
    low_pass,
)
from ecgnb.transforms.pipeline import TRANSFORMS, Params, Transform


@TRANSFORMS.register("zscore")
@dataclass(frozen=True)
class ZScore(Transform):
    """Give every lead (or every record) mean 0 and variance 1 over its valid samples.

    Attributes:
        per: ``"lead"``, or ``"record"`` to keep the leads' relations of amplitude.
        eps: standard deviation up to which a lead counts as flat, in the signal's unit;
            a flat lead becomes 0.
    """

    per: Literal["lead", "record"] = "lead"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check(
            self.per in ("lead", "record"),
            f"zscore: per must be 'lead' or 'record', not {self.per!r}",
        )
        _check(self.eps > 0, f"zscore: eps must be above 0, not {self.eps!r}")

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        over = (-1,) if self.per == "lead" else (-2, -1)
        leads = 1 if self.per == "lead" else x.shape[-2]
        x = zero_padding(x, mask)
        count: int | Tensor = x.shape[-1] * leads
        if mask is not None:
            count = (mask.sum(-1) * leads).clamp(min=1)[:, None, None]
        centred = zero_padding(x - x.sum(over, keepdim=True) / count, mask)
        variance = centred.square().sum(over, keepdim=True) / count
        flat = variance <= self.eps**2
        # The root of 0 has an infinite slope; a flat lead must not bring a NaN into the
        # gradient either.
        return (centred * variance.masked_fill(flat, 1.0).rsqrt()).masked_fill(
            flat, 0.0
        )


@TRANSFORMS.register("bandpass")
@dataclass(frozen=True)
class BandPass(Transform):
    """Keep the frequencies between ``low`` and ``high``, without phase shift.

    A windowed-sinc filter with gain 1/2 (-6 dB) at both edges; see
    :mod:`ecgnb.transforms.filters` for the ends. The transition at the low edge is as
    wide as the edge is high (from ``low / 2`` to ``1.5 * low``); at the high edge it is
    a quarter of it, or what is left below half the sampling rate.

    Attributes:
        low: in Hz, or ``None`` for a low-pass.
        high: in Hz, or ``None`` for a high-pass.
    """

    low: float | None = 0.5
    high: float | None = 40.0

    def __post_init__(self) -> None:
        edges = [edge for edge in (self.low, self.high) if edge is not None]
        _check(bool(edges), "bandpass: give low, high or both in Hz")
        _check(
            all(edge > 0 for edge in edges),
            f"bandpass: edges must be above 0 Hz, not {edges}",
        )
        _check(
            edges == sorted(set(edges)),
            f"bandpass: low={self.low} Hz must be below high={self.high} Hz",
        )

    def kernel(self, fs: float) -> np.ndarray:
        """Return the symmetric impulse response at ``fs`` samples a second.

        Raises:
            ConfigError: an edge is not below half the sampling rate.
        """
        kernels = []
        if self.low is not None:
            _check_below_nyquist("bandpass: low", self.low, fs)
            kernels.append(high_pass(self.low, self.low, fs))
        if self.high is not None:
            _check_below_nyquist("bandpass: high", self.high, fs)
            kernels.append(
                low_pass(self.high, min(self.high / 4, fs - 2 * self.high), fs)
            )
        return cascade(kernels)

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return filter_zero_phase(x, self.kernel(self._rate(fs)), mask)


@TRANSFORMS.register("notch")
@dataclass(frozen=True)
class Notch(Transform):
    """Remove the mains frequency and its harmonics, without phase shift.

    Attributes:
        frequency: 50 or 60 Hz in practice.
        harmonics: how many multiples to remove, the first included; those above half
            the sampling rate are left out.
        width: distance from the frequency at which the gain is 1 again, in Hz.
    """

    frequency: float = 50.0
    harmonics: int = 1
    width: float = 2.0

    def __post_init__(self) -> None:
        _check(
            self.frequency > 0,
            f"notch: frequency must be above 0 Hz, not {self.frequency!r}",
        )
        _check(
            self.harmonics >= 1,
            f"notch: harmonics must be 1 or more, not {self.harmonics!r}",
        )
        _check(self.width > 0, f"notch: width must be above 0 Hz, not {self.width!r}")

    def kernel(self, fs: float) -> np.ndarray:
        """Return the symmetric impulse response; the frequency must be below half of
        ``fs``.
        """
        _check_below_nyquist("notch: frequency", self.frequency, fs)
        multiples = [
            self.frequency * k
            for k in range(1, self.harmonics + 1)
            if self.frequency * k < fs / 2
        ]
        return cascade([band_stop(multiple, self.width, fs) for multiple in multiples])

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return filter_zero_phase(x, self.kernel(self._rate(fs)), mask)


@TRANSFORMS.register("baseline")
@dataclass(frozen=True)
class Baseline(Transform):
    """Remove baseline wander by a high-pass without phase shift.

    A high-pass bends the ST segment by its phase, which this one has not; at a heart
    rate above 1.5 times the cutoff (45 a minute for 0.5 Hz) the beats pass unchanged.
    On synthetic beats with known drift, away from the ends, it left a fifth of the
    drift and a thirtieth of the ST error of the usual running medians over 0.2 and 0.6
    s.

    Attributes:
        cutoff: in Hz, where the gain is 1/2; half of it is removed entirely.
    """

    cutoff: float = 0.5

    def __post_init__(self) -> None:
        _check(
            self.cutoff > 0, f"baseline: cutoff must be above 0 Hz, not {self.cutoff!r}"
        )

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        rate = self._rate(fs)
        _check_below_nyquist("baseline: cutoff", self.cutoff, rate)
        return filter_zero_phase(x, high_pass(self.cutoff, self.cutoff, rate), mask)


@TRANSFORMS.register("clip")
@dataclass(frozen=True)
class Clip(Transform):
    """Limit the signal to ``-limit`` and ``limit`` (the signal's unit at this place of
    the pipeline).
    """

    limit: float = 10.0

    def __post_init__(self) -> None:
        _check(self.limit > 0, f"clip: limit must be above 0, not {self.limit!r}")

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x.clamp(-self.limit, self.limit)


@TRANSFORMS.register("scale")
@dataclass(frozen=True)
class Scale(Transform):
    """Multiply the signal by a fixed factor."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        _check(
            bool(np.isfinite(self.factor)),
            f"scale: factor must be finite, not {self.factor!r}",
        )

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x * self.factor


def _check_below_nyquist(what: str, frequency: float, fs: float) -> None:
    _check(
        frequency < fs / 2,
        f"{what}={frequency:g} Hz is not below half the sampling rate of {fs:g} Hz; lower it or leave it out",
    )


def _check(holds: object, message: str) -> None:
    if not holds:
        raise ConfigError(f"{message}.")
