"""One recording in the form that a model sees: fixed leads, rate and length, checked; used to train and to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ecgnb.data.filters import build_filters
from ecgnb.data.leads import normalise_lead, select_leads
from ecgnb.data.quality import MAX_FS, MIN_FS, Extremes, check_duration, find_clipped, find_flat, repair_gaps
from ecgnb.data.recording import Recording
from ecgnb.data.resample import filter_reach, resample, resampled_length, resampling_ratio
from ecgnb.errors import ConfigError, ReadError


@dataclass(frozen=True)
class PrepareConfig:
    """The form of the stored signals.

    Attributes:
        target_fs: rate in Hz.
        target_samples: length in samples; longer recordings are cropped, shorter ones padded with zeros.
        leads: names of the leads in order; empty: the data set's own.
        missing_leads: what to do with a recording that lacks a lead: "reject" it, or store "zero" in its place.
        crop: keep the middle of a recording ("center") or its beginning ("start"); padding follows the same rule.
        filters: what is done to the whole recording at ``target_fs`` before it is cropped, each a name or
            ``{"name": ..., option: ...}`` (`ecgnb.data.filters`).
        store_dtype: "int16" with a scale a record and lead, or "float16".
        shard_size: recordings a file.
        n_jobs: processes; -1 uses all cores, 1 works without a pool.
    """

    target_fs: float = 500.0
    target_samples: int = 5000
    leads: tuple[str, ...] = ()
    missing_leads: Literal["reject", "zero"] = "reject"
    crop: Literal["center", "start"] = "center"
    filters: tuple[Any, ...] = ()
    store_dtype: Literal["int16", "float16"] = "int16"
    shard_size: int = 512
    n_jobs: int = -1

    def __post_init__(self) -> None:
        if not MIN_FS <= self.target_fs <= MAX_FS:
            raise ConfigError(f"TARGET_FS is {self.target_fs:g}; give a rate from {MIN_FS:g} to {MAX_FS:g} Hz.")
        for name in ("target_samples", "shard_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name.upper()} is {getattr(self, name)}; give a positive number.")
        if len(set(self.leads)) != len(self.leads):
            raise ConfigError(f"LEADS names a lead twice: {', '.join(self.leads)}.")
        if self.n_jobs == 0:
            raise ConfigError("N_JOBS is 0; give a number of processes, or -1 for all cores.")
        for name, known in (
            ("missing_leads", ("reject", "zero")),
            ("crop", ("center", "start")),
            ("store_dtype", ("int16", "float16")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name.upper()} is {getattr(self, name)!r}; choose one of {', '.join(known)}.")
        build_filters(self.filters, self.target_fs)


@dataclass(frozen=True, eq=False)
class Standardised:
    """One recording in its stored form.

    Attributes:
        signal: float32 ``[n_leads, target_samples]`` in mV, finite.
        valid: first sample that was recorded and the one after the last; the rest is padding.
        flags: what is doubtful, such as ``"flat_leads:V1|V2"``.
    """

    signal: np.ndarray
    valid: tuple[int, int]
    flags: tuple[str, ...]


def standardise(recording: Recording, config: PrepareConfig) -> Standardised:
    """Bring one recording into the form that ``config`` describes.

    Only the part that is kept (and what the resampling needs beside it) is checked and resampled; a fault elsewhere in
    a long recording does no harm. With ``filters`` all of it is, since they see the whole recording.

    Args:
        recording: signal in mV at any rate, any order of leads.
        config: the wanted form; without ``leads`` those of the recording.

    Raises:
        ReadError: the recording must not be used; ``reason`` is one of ``"rate"``, ``"too_short"``,
            ``"missing_leads"``, ``"nan"``, ``"inf"``, ``"flat"``.
    """
    check_duration(recording.n_samples, recording.fs)
    up, down = resampling_ratio(recording.fs, config.target_fs)
    first, stop, skip = _part(recording.n_samples, up, down, config)
    leads = tuple(normalise_lead(lead) for lead in config.leads or recording.leads)
    signal, absent = select_leads(recording.signal[:, first:stop], recording.leads, leads)
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
    signal = resample(signal, recording.fs, config.target_fs)
    if config.filters:
        for each in build_filters(config.filters, config.target_fs):
            signal = each(signal, config.target_fs)
        skip = max(signal.shape[1] - config.target_samples, 0) // 2 if config.crop == "center" else 0
    signal, valid = _fit(signal[:, skip:], config)
    return Standardised(signal, valid, tuple(dict.fromkeys(flags)))


def _part(n_samples: int, up: int, down: int, config: PrepareConfig) -> tuple[int, int, int]:
    """Tell which input samples make the kept output.

    Returns:
        First input sample, the one after the last, and how many output samples to leave out at the beginning.
    """
    surplus = resampled_length(n_samples, up, down) - config.target_samples
    if surplus <= 0 or config.filters:
        return 0, n_samples, 0
    kept = surplus // 2 if config.crop == "center" else 0
    reach = filter_reach(up, down) if up != down else 0
    # Begin at a multiple of `down`, where an input and an output sample fall together.
    first = max(0, (kept * down // up - reach) // down * down)
    stop = min(n_samples, -(-(kept + config.target_samples) * down // up) + reach)
    return first, stop, kept - first * up // down


def _empty_leads(signal: np.ndarray, absent: tuple[str, ...], leads: tuple[str, ...]) -> np.ndarray:
    """Return bool ``[n_leads]``: the file has no such lead, or nothing but NaN in it."""
    return np.isnan(signal).all(axis=1) | np.array([lead in absent for lead in leads])


def _without(signal: np.ndarray, empty: np.ndarray, leads: tuple[str, ...], rule: str) -> np.ndarray:
    """Put zeros in the place of empty leads, or refuse them."""
    if not empty.any():
        return signal
    names = "|".join(_names(empty, leads))
    if empty.all():
        raise ReadError(
            "missing_leads", f"The recording has none of the wanted leads {names}; `ecgnb inspect` shows which it has."
        )
    if rule == "reject":
        raise ReadError(
            "missing_leads", f"The recording has no lead {names}. Set MISSING_LEADS to 'zero' to use it all the same."
        )
    return np.where(empty[:, None], np.float32(0), signal)


def _lead_flags(
    signal: np.ndarray, fs: float, leads: tuple[str, ...], extremes: Extremes, empty: np.ndarray
) -> list[str]:
    """Name missing, flat and clipped leads; refuse a recording in which every lead is flat."""
    flat = find_flat(extremes)
    if flat.all():
        raise ReadError("flat", "Every lead is constant: nothing was recorded.")
    clipped = find_clipped(signal, fs, extremes) & ~flat
    found = (("missing_leads", empty), ("flat_leads", flat & ~empty), ("clipped_leads", clipped))
    return [f"{name}:{'|'.join(_names(which, leads))}" for name, which in found if which.any()]


def _names(which: np.ndarray, leads: tuple[str, ...]) -> list[str]:
    return [leads[row] for row in np.flatnonzero(which)]


def _fit(signal: np.ndarray, config: PrepareConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut to the wanted length, or pad with zeros; tell where the recorded samples are."""
    surplus = signal.shape[1] - config.target_samples
    if surplus >= 0:
        return signal[:, : config.target_samples], (0, config.target_samples)
    start = -surplus // 2 if config.crop == "center" else 0
    padded = np.zeros((len(signal), config.target_samples), dtype=np.float32)
    padded[:, start : start + signal.shape[1]] = signal
    return padded, (start, start + signal.shape[1])
