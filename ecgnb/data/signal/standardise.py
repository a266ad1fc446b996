"""One recording in the form that a model sees: fixed leads, rate and length, checked;
used to train and to predict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import normalise_lead, select_leads
from ecgnb.data.signal.quality import (
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
            gives it another unit.
        valid: first sample that was recorded and the one after the last; the rest is
            padding.
        flags: what is doubtful about the recording, such as ``"flat_leads:V1|V2"``.
        start: where in the recording the first of these samples stands, in samples at
            the target rate.
    """

    signal: np.ndarray
    valid: tuple[int, int]
    flags: tuple[str, ...]
    start: int = 0


def standardise(recording: Recording, config: PrepareConfig) -> Standardised:
    """Bring one recording into the form that ``config`` describes.

    Only the part that is kept (and what the resampling needs beside it) is checked and
    resampled; a fault elsewhere in a long recording does no harm. With ``filters`` or
    linear resampling all of it is, since they need the whole.

    Args:
        recording: signal in mV at any rate, any order of leads.
        config: the wanted form; without ``leads`` those of the recording.

    Raises:
        ReadError: the recording must not be used; ``reason`` is one of ``"rate"``,
            ``"too_short"``, ``"missing_leads"``, ``"nan"``, ``"inf"``, ``"flat"``.
    """
    check_duration(recording.n_samples, recording.fs)
    surplus = _length(recording, config) - config.target_samples
    start = max(surplus, 0) // 2 if config.crop == "center" else 0
    first, stop, begin = _part(recording, config, start)
    signal, flags = _at_rate(recording, config, first, stop)
    signal, valid = _fit(signal[:, start - begin :], config)
    return Standardised(signal, valid, flags, start)


def standardise_windows(
    recording: Recording, config: PrepareConfig
) -> list[Standardised]:
    """Bring a whole recording into the form that ``config`` describes, in windows of
    ``target_samples``.

    The windows follow one another from the start of the recording; what is left at its
    end is dropped. A recording that is shorter than one window is padded, as
    `standardise` does. All windows have the flags of the recording.

    Args:
        recording: as for `standardise`.
        config: the wanted form; ``crop`` only tells where a short recording is padded.

    Raises:
        ReadError: as for `standardise`, for a fault anywhere in the recording.
    """
    check_duration(recording.n_samples, recording.fs)
    signal, flags = _at_rate(recording, config, 0, recording.n_samples)
    length = config.target_samples
    last = max(signal.shape[1] - length, 0)
    pieces = [
        (start, *_fit(signal[:, start:], config))
        for start in range(0, last + 1, length)
    ]
    return [Standardised(piece, valid, flags, start) for start, piece, valid in pieces]


def _length(recording: Recording, config: PrepareConfig) -> int:
    """Return how many samples the whole recording has at the target rate."""
    if config.resampling == "linear":
        return linear_length(recording.n_samples, recording.fs, config.target_fs)
    return resampled_length(
        recording.n_samples, *resampling_ratio(recording.fs, config.target_fs)
    )


def _part(
    recording: Recording, config: PrepareConfig, start: int
) -> tuple[int, int, int]:
    """Tell which input samples make the kept output, which begins at output sample
    ``start``.

    Returns:
        First input sample, the one after the last, and at which output sample the first
        one stands.
    """
    if config.filters or config.resampling == "linear":
        return 0, recording.n_samples, 0
    up, down = resampling_ratio(recording.fs, config.target_fs)
    reach = filter_reach(up, down) if up != down else 0
    # Begin at a multiple of `down`, where an input and an output sample fall together.
    first = max(0, (start * down // up - reach) // down * down)
    stop = min(
        recording.n_samples, -(-(start + config.target_samples) * down // up) + reach
    )
    return first, stop, first * up // down


def _at_rate(
    recording: Recording, config: PrepareConfig, first: int, stop: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check a part of a recording, bring it to the target rate and filter it.

    Returns:
        float32 ``[n_leads, n_samples]``, and the flags.
    """
    leads = tuple(normalise_lead(lead) for lead in config.leads or recording.leads)
    signal, absent = select_leads(
        recording.signal[:, first:stop], recording.leads, leads
    )
    extremes = Extremes.of(signal)
    flags = list(recording.flags)
    empty = np.zeros(len(leads), dtype=bool)
    if not extremes.finite():
        empty = _empty_leads(signal, absent, leads)
        signal = _without(signal, empty, leads, config.missing_leads)
        if np.isnan(signal).any():
            flags.append("nan_repaired")
        signal = repair_gaps(signal, recording.fs, leads)
        extremes = Extremes.of(signal)
    flags += _lead_flags(signal, recording.fs, leads, extremes, empty)
    change_rate = resample_linear if config.resampling == "linear" else resample
    signal = change_rate(signal, recording.fs, config.target_fs)
    for each in build_filters(config.filters, config.target_fs):
        signal = each(_held(signal, find_flat(extremes)), config.target_fs)
    return signal.astype(np.float32, copy=False), tuple(dict.fromkeys(flags))


def _held(signal: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Make flat leads constant to the bit, or a filter may take the rounding of the
    step before it for a signal.
    """
    return np.where(flat[:, None], signal[:, :1], signal) if flat.any() else signal


def _empty_leads(
    signal: np.ndarray, absent: tuple[str, ...], leads: tuple[str, ...]
) -> np.ndarray:
    """Return bool ``[n_leads]``: the file has no such lead, or nothing but NaN in
    it.
    """
    return np.isnan(signal).all(axis=1) | np.array([lead in absent for lead in leads])


def _without(
    signal: np.ndarray, empty: np.ndarray, leads: tuple[str, ...], rule: str
) -> np.ndarray:
    """Put zeros in the place of empty leads, or refuse them."""
    if not empty.any():
        return signal
    names = "|".join(_names(empty, leads))
    if empty.all():
        raise ReadError(
            "missing_leads",
            f"The recording has none of the wanted leads {names}; `ecgnb inspect` shows which it has.",
        )
    if rule == "reject":
        raise ReadError(
            "missing_leads",
            f"The recording has no values in lead {names}. A training may set MISSING_LEADS to 'zero' and use it.",
        )
    return np.where(empty[:, None], np.float32(0), signal)


def _lead_flags(
    signal: np.ndarray,
    fs: float,
    leads: tuple[str, ...],
    extremes: Extremes,
    empty: np.ndarray,
) -> list[str]:
    """Name missing, flat and clipped leads; refuse a recording in which every lead is
    flat.
    """
    flat = find_flat(extremes)
    if flat.all():
        raise ReadError("flat", "Every lead is constant: nothing was recorded.")
    clipped = find_clipped(signal, fs, extremes) & ~flat
    found = (
        ("missing_leads", empty),
        ("flat_leads", flat & ~empty),
        ("clipped_leads", clipped),
    )
    return [
        f"{name}:{'|'.join(_names(which, leads))}"
        for name, which in found
        if which.any()
    ]


def _names(which: np.ndarray, leads: tuple[str, ...]) -> list[str]:
    return [leads[row] for row in np.flatnonzero(which)]


def _fit(
    signal: np.ndarray, config: PrepareConfig
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut to the wanted length, or pad with zeros; tell where the recorded samples
    are.
    """
    surplus = signal.shape[1] - config.target_samples
    if surplus >= 0:
        return signal[:, : config.target_samples], (0, config.target_samples)
    start = -surplus // 2 if config.crop == "center" else 0
    padded = np.zeros((len(signal), config.target_samples), dtype=np.float32)
    padded[:, start : start + signal.shape[1]] = signal
    return padded, (start, start + signal.shape[1])
