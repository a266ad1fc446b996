"""Deterministic transforms: the same in training, evaluation and prediction."""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from ecgnb.data.signal.zscore import zscore
from ecgnb.transforms.filters import (
    band_stop,
    filter_zero_phase,
    high_pass,
    low_pass,
)
from ecgnb.transforms.pipeline import TRANSFORMS, Params, Transform, bounded, positive

Per = Literal["lead", "record"]


@TRANSFORMS.register("zscore")
@dataclass(frozen=True)
class ZScore(Transform):
    """Give every lead (or every record) mean 0 and variance 1 over its valid samples.

    Attributes:
        per: ``"lead"``, or ``"record"`` to keep the ratios of the leads' amplitudes.
        eps: standard deviation up to which a lead is flat and becomes 0, in the
            signal's unit.
    """

    per: Per = "lead"
    eps: float = positive(1e-5)

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = get_args(Per)
        self.check(
            self.per in choices, f"needs per to be one of {choices}, not {self.per!r}"
        )

    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        n_leads, n_samples = x.shape[-2:]
        axis: tuple[int, ...] = (-1,)
        rows = 1
        if self.per == "record":
            axis, rows = (-2, -1), n_leads
        if mask is None:
            return zscore(x, axis, n_samples * rows, eps=self.eps)
        mask = mask[:, None, :]
        count = mask.sum(-1, keepdim=True) * rows
        x = x.masked_fill(~mask, 0.0)
        return zscore(x, axis, count.clamp(min=1), mask, self.eps)


class KernelTransform(Transform):
    """A zero-phase filter; subclasses define the kernel for a sampling rate."""

    @abstractmethod
    def kernel(self, fs: float) -> np.ndarray:
        """Return the symmetric impulse response at ``fs`` Hz.

        Raises:
            ConfigError: a frequency is not below half the sampling rate.
        """

    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        kernel = self.kernel(self.required_fs(fs))
        return filter_zero_phase(x, kernel, mask)

    def check_below_nyquist(self, option: str, fs: float) -> None:
        """Raise a `ConfigError` when a frequency is not below half of ``fs``."""
        frequency = getattr(self, option)
        self.check(
            frequency < fs / 2,
            f"cannot be applied: {option}={frequency:g} Hz is not below half the "
            f"sampling rate of {fs:g} Hz; use a lower {option} or None",
        )


@TRANSFORMS.register("bandpass")
@dataclass(frozen=True)
class BandPass(KernelTransform):
    """Keep the frequencies between ``low`` and ``high``, without phase shift.

    A windowed-sinc filter with gain 1/2 (-6 dB) at both edges; see
    :mod:`ecgnb.transforms.filters` for the ends. The transition at the low edge is as
    wide as the edge is high (from ``low / 2`` to ``1.5 * low``); at the high edge it is
    a quarter of it, or the rest below half the sampling rate.

    Attributes:
        low: in Hz, or ``None`` for a low-pass.
        high: in Hz, or ``None`` for a high-pass.
    """

    low: float | None = 0.5
    high: float | None = 40.0

    def __post_init__(self) -> None:
        edges = [edge for edge in (self.low, self.high) if edge is not None]
        self.check(edges, "needs low, high or both in Hz")
        self.check(min(edges) > 0, f"needs edges above 0 Hz, not {edges}")
        self.check(
            edges == sorted(set(edges)),
            f"needs edges in order: low={self.low} Hz must be below high={self.high} "
            "Hz",
        )

    def kernel(self, fs: float) -> np.ndarray:
        kernels = []
        if self.low is not None:
            self.check_below_nyquist("low", fs)
            kernels.append(high_pass(self.low, self.low, fs))
        if self.high is not None:
            self.check_below_nyquist("high", fs)
            width = min(self.high / 4, fs - 2 * self.high)  # Hz
            kernels.append(low_pass(self.high, width, fs))
        return functools.reduce(np.convolve, kernels)


@TRANSFORMS.register("notch")
@dataclass(frozen=True)
class Notch(KernelTransform):
    """Remove the mains frequency and its harmonics, without phase shift.

    Attributes:
        frequency: 50 or 60 Hz in practice.
        harmonics: multiples to remove, including the first; those above half the
            sampling rate are left out.
        width: distance from the frequency at which the gain is 1 again, in Hz.
    """

    frequency: float = positive(50.0)
    harmonics: int = bounded(1, low=1)
    width: float = positive(2.0)

    def kernel(self, fs: float) -> np.ndarray:
        self.check_below_nyquist("frequency", fs)
        kernels = []
        for k in range(1, self.harmonics + 1):
            harmonic = self.frequency * k
            if harmonic < fs / 2:
                kernels.append(band_stop(harmonic, self.width, fs))
        return functools.reduce(np.convolve, kernels)


@TRANSFORMS.register("baseline")
@dataclass(frozen=True)
class Baseline(KernelTransform):
    """Remove baseline wander by a high-pass without phase shift.

    It is the phase of a usual high-pass that distorts the ST segment. At a heart rate
    above 1.5 times the cutoff (45 per minute for 0.5 Hz) the beats pass unchanged. On
    synthetic beats with known drift, away from the ends, it left a fifth of the drift
    and a thirtieth of the ST error of the usual running medians over 0.2 and 0.6 s.

    Attributes:
        cutoff: in Hz, where the gain is 1/2; half of it is removed entirely.
    """

    cutoff: float = positive(0.5)

    def kernel(self, fs: float) -> np.ndarray:
        self.check_below_nyquist("cutoff", fs)
        return high_pass(self.cutoff, self.cutoff, fs)


@TRANSFORMS.register("clip")
@dataclass(frozen=True)
class Clip(Transform):
    """Limit the signal to ``-limit`` and ``limit``, in its unit at this step."""

    limit: float = positive(10.0)

    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x.clamp(-self.limit, self.limit)


@TRANSFORMS.register("scale")
@dataclass(frozen=True)
class Scale(Transform):
    """Multiply the signal by a fixed factor."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        finite = bool(np.isfinite(self.factor))
        self.check(finite, f"needs a finite factor, not {self.factor!r}")

    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x * self.factor
