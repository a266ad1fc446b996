"""Standard form of a recording for models: leads, rate, length, quality checks.

Training and prediction both use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.amplitude import check_amplitude
from ecgnb.data.signal.leads import normalise_lead, select_leads
from ecgnb.data.signal.quality import (
    TINY_MV,
    Extremes,
    check_duration,
    find_clipped,
    find_flat,
    repair_gaps,
)
from ecgnb.data.signal.recording_filters import build_filters
from ecgnb.data.signal.resample import (
    filter_reach,
    linear_length,
    resample,
    resample_linear,
    resampled_length,
    resampling_ratio,
)


@dataclass(frozen=True, eq=False)
class Standardised:
    """One recording in its stored form, or a window of it.

    Attributes:
        signal: float32 ``[n_leads, target_samples]``, finite; in mV, unless a filter
            changes the unit.
        valid: first recorded sample and the one after the last; the rest is padding.
        flags: doubts about the recording, such as ``"flat_leads:V1|V2"``.
        start: position of the first sample in the recording, in samples at the target
            rate.
    """

    signal: np.ndarray
    valid: tuple[int, int]
    flags: tuple[str, ...]
    start: int = 0


def standardise(recording: Recording, config: PrepareConfig) -> Standardised:
    """Convert one recording to the form that ``config`` describes.

    Only the part that is kept (and what its resampling needs) is checked and resampled;
    a fault elsewhere in a long recording does no harm. ``filters`` and linear
    resampling need the whole recording.

    Args:
        recording: signal in mV at any rate, any order of leads.
        config: of the result; without ``leads`` those of the recording.

    Raises:
        ReadError: the recording must not be used; ``reason`` is one of ``"rate"``,
            ``"too_short"``, ``"missing_leads"``, ``"nan"``, ``"inf"``, ``"amplitude"``,
            ``"flat"``, ``"filters"``.
    """
    fs, target_fs = recording.fs, config.target_fs
    check_duration(recording.n_samples, fs)
    if config.resampling == "linear":
        length = linear_length(recording.n_samples, fs, target_fs)
    else:
        up, down = resampling_ratio(fs, target_fs)
        length = resampled_length(recording.n_samples, up, down)
    start = 0
    if config.crop == "center":
        start = max(length - config.target_samples, 0) // 2
    # The part of the input that makes the output from sample `start` on, and the output
    # sample `offset` at which it begins.
    first, stop, offset = 0, recording.n_samples, 0
    if config.resampling != "linear" and not config.filters:
        reach = 0
        if up != down:
            reach = filter_reach(up, down)
        # Begin at a multiple of `down`: an output sample has the time of an input one.
        blocks = max(0, start * down // up - reach) // down
        first = blocks * down
        offset = blocks * up
        end = (start + config.target_samples) * down
        last = -(-end // up)  # rounded up
        stop = min(recording.n_samples, last + reach)
    signal, flags = _at_target_rate(recording, config, first, stop)
    signal, valid = _crop_or_pad(signal[:, start - offset :], config)
    return Standardised(signal, valid, flags, start)


def standardise_windows(
    recording: Recording, config: PrepareConfig
) -> list[Standardised]:
    """Convert a whole recording to consecutive windows of ``target_samples``.

    The windows begin at the start of the recording; the rest at its end is dropped. A
    recording that is shorter than one window is padded, as `standardise` does. All
    windows have the flags of the recording.

    Args:
        recording: as for `standardise`.
        config: of the result; ``crop`` only decides where a short recording is padded.

    Raises:
        ReadError: as for `standardise`, for a fault anywhere in the recording.
    """
    check_duration(recording.n_samples, recording.fs)
    signal, flags = _at_target_rate(recording, config, 0, recording.n_samples)
    last = max(signal.shape[1] - config.target_samples, 0)
    windows = []
    for start in range(0, last + 1, config.target_samples):
        window, valid = _crop_or_pad(signal[:, start:], config)
        windows.append(Standardised(window, valid, flags, start))
    return windows


def _at_target_rate(
    recording: Recording, config: PrepareConfig, first: int, stop: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check, resample and filter samples ``first`` to ``stop`` of a recording.

    Returns:
        float32 ``[n_leads, n_samples]``, and the flags.
    """
    fs, target_fs = recording.fs, config.target_fs
    leads = tuple(map(normalise_lead, config.leads or recording.leads))
    part = recording.signal[:, first:stop]
    signal, _ = select_leads(part, recording.leads, leads)  # NaN where a lead is absent
    flags = list(recording.flags)
    empty = np.zeros(len(leads), dtype=bool)
    extremes = Extremes.of(signal)
    if not extremes.finite():
        empty = np.isnan(signal).all(axis=1)
        if empty.any():
            _refuse_empty_leads(empty, leads, config.missing_leads)
            signal = np.where(empty[:, None], np.float32(0), signal)
        if np.isnan(signal).any():
            flags.append("nan_repaired")
        signal = repair_gaps(signal, fs, leads)
        extremes = Extremes.of(signal)
    amplitude_flag = check_amplitude(signal, fs, leads, first)
    if amplitude_flag:
        flags.append(amplitude_flag)
    flat = find_flat(extremes)
    if flat.all():
        raise ReadError("flat", "Every lead is constant: nothing was recorded.")
    leads_of_flag = {
        "missing_leads": empty,
        "flat_leads": flat & ~empty,
        "clipped_leads": find_clipped(signal, fs, extremes) & ~flat,
    }
    for name, selected in leads_of_flag.items():
        if selected.any():
            flags.append(f"{name}:{_joined(selected, leads)}")
    if config.resampling == "linear":
        signal = resample_linear(signal, fs, target_fs)
    else:
        signal = resample(signal, fs, target_fs)
    for recording_filter in build_filters(config.filters, target_fs):
        if flat.any():
            # Constant to the bit, or a filter takes rounding errors for a signal.
            signal = np.where(flat[:, None], signal[:, :1], signal)
        signal = recording_filter(signal, target_fs)
    if config.filters:
        signal = _finite_float32(signal, leads)
    tiny = np.maximum(extremes.high, -extremes.low) < TINY_MV
    if tiny.any():
        signal = np.where(tiny[:, None], np.float32(0), signal)
    unique_flags = tuple(dict.fromkeys(flags))
    return signal.astype(np.float32, copy=False), unique_flags


def _finite_float32(signal: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """Return a filtered signal as float32; refuse one that the filters made infinite,
    as a filter of high order with a low edge does.
    """
    with np.errstate(over="ignore"):
        signal = signal.astype(np.float32, copy=False)
    bad = ~np.isfinite(signal).all(axis=1)
    if bad.any():
        raise ReadError(
            "filters",
            f"FILTERS make lead {_joined(bad, leads)} infinite or NaN: lower their "
            "order, or raise their lower edge.",
        )
    return signal


def _refuse_empty_leads(empty: np.ndarray, leads: tuple[str, ...], rule: str) -> None:
    names = _joined(empty, leads)
    if empty.all():
        raise ReadError(
            "missing_leads",
            f"The recording has none of the required leads {names}; `ecgnb inspect` "
            "shows its leads.",
        )
    if rule == "reject":
        raise ReadError(
            "missing_leads",
            f"The recording has no values in lead {names}. Set MISSING_LEADS to "
            "'zero' to use it nevertheless.",
        )


def _joined(selected: np.ndarray, leads: tuple[str, ...]) -> str:
    return "|".join(leads[row] for row in np.flatnonzero(selected))


def _crop_or_pad(
    signal: np.ndarray, config: PrepareConfig
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return ``target_samples`` samples and the bounds of the recorded ones."""
    n_samples, target = signal.shape[1], config.target_samples
    if n_samples >= target:
        return signal[:, :target], (0, target)
    start = 0
    if config.crop == "center":
        start = (target - n_samples) // 2
    stop = start + n_samples
    padded = np.zeros((len(signal), target), dtype=np.float32)
    padded[:, start:stop] = signal
    return padded, (start, stop)
