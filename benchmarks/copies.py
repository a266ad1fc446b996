"""The search for copies: which changed copies of real recordings are found, at which
cost, and how many different recordings are called copies.

Every recording is read, changed, and brought to its stored form like any other; then
originals and changed copies are searched together. `ECGNB_TEST_DATA` names the folder
of real recordings, `ECGNB_CINC2017` the training set of CinC 2017; without the first,
synthetic recordings are used.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import butter, sosfilt

from benchmarks.measure import row
from ecgnb.core.errors import ReadError
from ecgnb.data.config import PrepareConfig
from ecgnb.data.demo.cohort_files import DemoConfig
from ecgnb.data.demo.synthesise import synthesise
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.signal.resample import resample
from ecgnb.data.signal.standardise import standardise
from ecgnb.data.splits.copies import copy_groups, search_copies

#: Recordings of a set that are changed; the search for false alarms takes all.
CHANGED = 50
#: Standard form of the recordings with twelve leads, and of those with one.
TWELVE = PrepareConfig(leads=STANDARD_12, missing_leads="zero")
SINGLE = PrepareConfig(target_fs=300.0, target_samples=9000)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredSignals:
    """Signals in memory that are read like those of a store."""

    signals: np.ndarray
    bounds: np.ndarray
    fs: float

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return int(self.signals.shape[-1])

    def __len__(self) -> int:
        return len(self.signals)

    def read(self, rows: Any) -> np.ndarray:
        """Return signals by row."""
        return self.signals[np.atleast_1d(rows)]

    def valid(self, rows: Any) -> np.ndarray:
        """Return the bounds of the recorded samples by row."""
        return self.bounds[np.atleast_1d(rows)]


def stored(recordings: Sequence[Recording], config: PrepareConfig) -> StoredSignals:
    """Bring recordings to their stored form."""
    standard = [standardise(recording, config) for recording in recordings]
    return StoredSignals(
        np.stack([one.signal for one in standard]),
        np.array([one.valid for one in standard]),
        config.target_fs,
    )


def _signal(change: Callable[[np.ndarray, float], np.ndarray]) -> Callable:
    """Make a change of a recording from a change of its signal and rate."""

    def changed(recording: Recording) -> Recording:
        signal = change(recording.signal, recording.fs)
        return dataclasses.replace(recording, signal=signal.astype(np.float32))

    return changed


def _noise(microvolts: float) -> Callable:
    def add(signal: np.ndarray, _: float) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, microvolts / 1000, signal.shape)
        return signal + noise

    return _signal(add)


def _at_rate(fs: float) -> Callable:
    def changed(recording: Recording) -> Recording:
        signal = resample(recording.signal, recording.fs, fs)
        return dataclasses.replace(recording, signal=signal, fs=fs)

    return changed


def _only(lead: int) -> Callable:
    def changed(recording: Recording) -> Recording:
        row = min(lead, recording.n_leads - 1)
        return dataclasses.replace(
            recording,
            signal=recording.signal[row : row + 1],
            leads=recording.leads[row : row + 1],
        )

    return changed


def _swapped(signal: np.ndarray, _: float) -> np.ndarray:
    order = np.arange(len(signal))
    order[:2] = order[:2][::-1]
    return signal[order]


def _one_lead_wrong(signal: np.ndarray, _: float) -> np.ndarray:
    gains = np.linspace(0.2, 5, len(signal))
    return signal * gains[:, None]


def _half_overlap(signal: np.ndarray, _: float) -> np.ndarray:
    """Return the second half, followed by the first half backwards."""
    half = signal.shape[1] // 2
    return np.concatenate([signal[:, half:], signal[:, :half][:, ::-1]], axis=1)


def _half_repeated(signal: np.ndarray, _: float) -> np.ndarray:
    half = signal[:, : signal.shape[1] // 2]
    return np.concatenate([half, half], axis=1)


def _quantised(signal: np.ndarray, _: float) -> np.ndarray:
    return np.round(signal / 0.005) * 0.005


def _filtered(low: float, high: float) -> Callable:
    def apply(signal: np.ndarray, fs: float) -> np.ndarray:
        sections = butter(2, (low, high), btype="bandpass", fs=fs, output="sos")
        return sosfilt(sections, signal, axis=1)

    return _signal(apply)


#: Changes of a recording, by name.
CHANGES: dict[str, Callable[[Recording], Recording]] = {
    "no change": lambda recording: recording,
    "times 1.01": _signal(lambda signal, fs: signal * 1.01),
    "wrong gain in the header (1000 for 200 per mV)": _signal(
        lambda signal, fs: signal * 5
    ),
    "another gain in each lead": _signal(_one_lead_wrong),
    "shifted by 1 sample": _signal(lambda signal, fs: signal[:, 1:]),
    "shifted by 100 ms": _signal(lambda signal, fs: signal[:, round(0.1 * fs) :]),
    "0.5 s and 1.5 s trimmed off the ends": _signal(
        lambda signal, fs: signal[:, round(0.5 * fs) : -round(1.5 * fs)]
    ),
    "inverted": _signal(lambda signal, fs: -signal),
    "leads I and II swapped": _signal(_swapped),
    "only lead II": _only(1),
    "only lead V3": _only(8),
    "1 uV of noise": _noise(1),
    "5 uV of noise": _noise(5),
    "20 uV of noise": _noise(20),
    "steps of 5 uV": _signal(_quantised),
    "an offset of 0.7 mV": _signal(lambda signal, fs: signal + 0.7),
    "repeated": _signal(lambda signal, fs: np.concatenate([signal, signal], axis=1)),
    "first half repeated": _signal(_half_repeated),
    "half overlap": _signal(_half_overlap),
    "the second half alone": _signal(
        lambda signal, fs: signal[:, signal.shape[1] // 2 :]
    ),
    "resampled to 100 Hz": _at_rate(100.0),
    "resampled to 257 Hz": _at_rate(257.0),
    "resampled to 1000 Hz": _at_rate(1000.0),
    "filter 0.5 to 40 Hz with its phase": _filtered(0.5, 40.0),
}


def run(quick: bool) -> list[dict[str, Any]]:
    """Measure everything; return one row per figure (`benchmarks.measure.row`)."""
    rows = []
    for name, recordings, config in cohorts(quick):
        originals = stored(recordings, config)
        started = time.perf_counter()
        pairs = search_copies(originals)
        seconds = time.perf_counter() - started
        per_10000 = 10_000 / len(originals) * seconds
        rows.append(row(f"{name}: search", per_10000, None, "s per 10,000", ""))
        in_copies = int((copy_groups(len(originals), pairs) >= 0).sum())
        rows.append(row(f"{name}: in copies", in_copies, None, "recordings", ""))
        for change in list(CHANGES)[:: 6 if quick else 1]:
            share = share_of_copies(recordings[:CHANGED], change, config)
            rows.append(row(f"{name}: {change}", share, None, "share found", ""))
    return rows


def share_of_copies(
    recordings: Sequence[Recording], change: str, config: PrepareConfig
) -> float:
    """Return the share of recordings that are one group with their changed copies."""
    originals, changed = [], []
    for recording in recordings:
        copy = CHANGES[change](recording)
        if np.ptp(copy.signal):  # a flat lead alone is rejected by the preparation
            originals.append(recording)
            changed.append(copy)
    one, other = stored(originals, config), stored(changed, config)
    both = StoredSignals(
        np.concatenate([one.signals, other.signals]),
        np.concatenate([one.bounds, other.bounds]),
        config.target_fs,
    )
    groups = copy_groups(len(both), search_copies(both))
    group, group_of_copy = np.split(groups, 2)
    return float(((group == group_of_copy) & (group >= 0)).mean())


def cohorts(quick: bool) -> list[tuple[str, list[Recording], PrepareConfig]]:
    """Return names, recordings and standard forms of the cohorts that are at hand."""
    data = os.environ.get("ECGNB_TEST_DATA", "")
    n = 40 if quick else 400
    if not data:
        demo = [synthesise(number, DemoConfig()) for number in range(n)]
        return [("synthetic", demo, TWELVE)]
    sources = {
        "PTB-XL": (Path(data) / "ptbxl" / "records100").rglob("*.hea"),
        "CinC 2020/21": (Path(data) / "cinc2020_2021").glob("*.hea"),
        "Chagas": (Path(data) / "code15_chagas").glob("*.hea"),
        "LUDB": (Path(data) / "ludb").rglob("*.hea"),
    }
    sets = [
        (name, read_all(sorted(paths)[:n], TWELVE), TWELVE)
        for name, paths in sources.items()
    ]
    if folder := os.environ.get("ECGNB_CINC2017", ""):
        paths = sorted(Path(folder).glob("*.hea"))
        paths = paths[:n] if quick else paths
        sets.append(("CinC 2017", read_all(paths, SINGLE), SINGLE))
    return sets


def read_all(paths: Sequence[Path], config: PrepareConfig) -> list[Recording]:
    """Read recordings; those that a preparation rejects are left out."""
    recordings = []
    for path in paths:
        try:
            recording = read_recording(path)
            standardise(recording, config)
        except ReadError:
            continue
        recordings.append(recording)
    return recordings
