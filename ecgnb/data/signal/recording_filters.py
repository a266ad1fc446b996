"""Filters of a whole recording before it is cropped, as used by published models.

Most are the classic ones of scipy, run forwards and backwards. For new models the
transforms in `ecgnb.transforms` are better and faster; these reproduce the input of
models that were trained with them.

scipy.signal is imported inside functions: it takes half a second, and most preparations
use no filter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ecgnb.core.errors import ConfigError, ReadError
from ecgnb.core.registry import Registry, build_from_spec
from ecgnb.data.signal.quality import Extremes, find_flat
from ecgnb.data.signal.zscore import zscore

FILTERS: Registry[type[Filter]] = Registry("filter")


class Filter(ABC):
    """Base of the filters; a subclass is a frozen dataclass whose fields are its
    options.

    Attributes:
        keeps_unit: whether the output is in mV.
    """

    keeps_unit: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, signal: np.ndarray, fs: float) -> np.ndarray:
        """Return a filtered float32 copy of ``signal`` ``[n_leads, n_samples]`` in mV
        with sampling rate ``fs`` in Hz.
        """

    def check(self, fs: float) -> None:  # noqa: B027
        """Raise a `ConfigError` when the filter does not exist at this rate."""


@FILTERS.register("butterworth")
@dataclass(frozen=True)
class Butterworth(Filter):
    """Butterworth low-pass, high-pass or band-pass, forwards and backwards
    (`scipy.signal.filtfilt`).

    Attributes:
        low: lower edge in Hz; ``None`` for a low-pass.
        high: upper edge in Hz; ``None`` for a high-pass.
        order: of one pass; the result has twice that order.
    """

    low: float | None = None
    high: float | None = None
    order: int = 2

    def check(self, fs: float) -> None:
        """Refuse edges that are missing, in the wrong order or above half the rate."""
        edges = [edge for edge in (self.low, self.high) if edge is not None]
        limits = [0, *edges, fs / 2]
        increasing = all(low < high for low, high in pairwise(limits))
        if not edges or not increasing:
            raise ConfigError(
                f"butterworth needs 0 < low < high < {fs / 2:g} Hz, or one of them, "
                f"not low={self.low}, high={self.high}."
            )

    def __call__(self, signal: np.ndarray, fs: float) -> np.ndarray:
        from scipy.signal import butter

        kind = "band"
        edges: Any = (self.low, self.high)
        if self.low is None:
            kind, edges = "low", self.high
        elif self.high is None:
            kind, edges = "high", self.low
        b, a = butter(self.order, edges, btype=kind, fs=fs)
        return _forwards_and_backwards(b, a, signal)


@FILTERS.register("iir_notch")
@dataclass(frozen=True)
class IirNotch(Filter):
    """Second-order notch, forwards and backwards (`scipy.signal.iirnotch` and
    `filtfilt`).

    Attributes:
        frequency: in Hz.
        q: quality factor; a small one removes far more than the frequency itself.
    """

    frequency: float
    q: float = 30.0

    def check(self, fs: float) -> None:
        """Refuse a frequency above half the rate."""
        if not 0 < self.frequency < fs / 2 or not self.q > 0:
            raise ConfigError(
                f"iir_notch needs a frequency between 0 and {fs / 2:g} Hz and q above "
                f"0, not {self.frequency:g} Hz, q={self.q:g}."
            )

    def __call__(self, signal: np.ndarray, fs: float) -> np.ndarray:
        from scipy.signal import iirnotch

        b, a = iirnotch(self.frequency, self.q, fs=fs)
        return _forwards_and_backwards(b, a, signal)


@FILTERS.register("isoelectric")
@dataclass(frozen=True)
class Isoelectric(Filter):
    """Subtract from each lead its mean over its quietest window, an estimate of the
    isoelectric line.

    Attributes:
        window: length in seconds.
        step: from one window to the next, in seconds.
    """

    window: float = 0.2
    step: float = 0.1

    def check(self, fs: float) -> None:
        """Refuse a window or step of less than a sample."""
        if int(self.window * fs) < 1 or int(self.step * fs) < 1:
            raise ConfigError(
                f"isoelectric needs a window and a step of a sample or more at {fs:g} "
                f"Hz, not {self}."
            )

    def __call__(self, signal: np.ndarray, fs: float) -> np.ndarray:
        n_leads, n_samples = signal.shape
        window = int(self.window * fs)
        step = int(self.step * fs)
        if n_samples <= window:
            return signal.copy()
        windows = sliding_window_view(signal, window, axis=1)
        # Without the window that ends with the recording, as in the training code of
        # the models.
        windows = windows[:, :-1:step]  # [n_leads, n_windows, window]
        quietest = np.ptp(windows, axis=2).argmin(axis=1)
        chosen = windows[np.arange(n_leads), quietest]  # [n_leads, window]
        level = chosen.mean(axis=1, keepdims=True, dtype=np.float64)
        return (signal - level).astype(np.float32)


@FILTERS.register("zscore")
@dataclass(frozen=True)
class ZScore(Filter):
    """Give each lead mean 0 and population standard deviation 1 over the whole
    recording; a flat lead becomes 0.

    The transform of the same name does it over the part that a model sees. This is the
    normalisation of ECG-FM, computed in float64.
    """

    keeps_unit: ClassVar[bool] = False

    def __call__(self, signal: np.ndarray, fs: float) -> np.ndarray:
        signal = signal.astype(np.float64)
        flat = find_flat(Extremes.of(signal))
        signal[flat] = 0
        return zscore(signal, (-1,), signal.shape[1]).astype(np.float32)


def build_filters(specs: Sequence[Any], fs: float) -> tuple[Filter, ...]:
    """Make filters of names and options and check them for a sampling rate.

    Raises:
        ConfigError: a name or option is unknown, or a filter does not exist at that
            rate.
    """
    filters = tuple(build_from_spec(FILTERS, spec) for spec in specs)
    for recording_filter in filters:
        recording_filter.check(fs)
    return filters


def _forwards_and_backwards(b: Any, a: Any, signal: np.ndarray) -> np.ndarray:
    from scipy.signal import filtfilt

    if signal.shape[1] <= 3 * max(len(a), len(b)):
        raise ReadError(
            "too_short",
            f"{signal.shape[1]} samples are too few to filter. Use a longer recording.",
        )
    filtered = filtfilt(b, a, signal.astype(np.float64), axis=-1)
    return filtered.astype(np.float32)
