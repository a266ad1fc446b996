"""Copies: recordings of which at least 3 s are also in another recording.

Candidates are pairs of signals with several equal landmarks at one lag
(`ecgnb.data.splits.landmarks`). The landmarks are sorted by their codes and compared
with their neighbours in that order, under four rotations of the bits (Manku, Jain and
Das Sarma 2007, "Detecting near-duplicates for web crawling", WWW): the work grows with
n log n, never with the square of the number of recordings. A candidate is a copy when
its signals correlate.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecgnb.core import files
from ecgnb.core.errors import FileError, first_few
from ecgnb.core.progress import progress, say
from ecgnb.data.splits.landmarks import (
    CODE_BITS,
    PEAK_DISTANCE_S,
    RATE,
    Landmarks,
    find_landmarks,
    narrow_bounds,
    narrow_signals,
)
from ecgnb.data.store.store import SignalStore

#: Raised by hand whenever the search gives other pairs for the same signals.
VERSION = 1
FILE_NAME = "copies.json"
#: Signals that are read and filtered at once: they fit in a processor's cache.
BATCH = 8

#: Bits of two codes that may differ. With 6 no more copies are found (noise of 20 uV,
#: filters and half overlaps included), and six times as many candidates on PTB-XL.
DIFFERENT_BITS = 3
#: Codes are compared with so many followers in the order of each rotation.
FOLLOWERS = 3
ROTATIONS = (0, 16, 32, 48)
#: Landmarks that must agree in the lag, and at how many different times: the leads have
#: peaks together.
MIN_LANDMARKS, MIN_INSTANTS = 3, 2
#: Samples between two times.
INSTANT = 1.0
#: Lags of one pair that are examined, the ones with most landmarks first. A lag may be
#: in two bins.
LAGS_PER_PAIR = 3

#: What makes a copy: seconds that must be equal, and their smallest correlation. Over
#: 3 s clean and regular rhythms of different people reach 0.988, over 8 s 0.958 (the
#: largest of 24 million pairs of CinC 2017), and noiseless synthetic ones 0.994; copies
#: have 0.997 and more, or less for longer (docs/leak_check.md).
RULES = ((3.0, 0.996), (8.0, 0.975))
#: The rest to a correlation of 1 must be less than this share of what a recording has
#: with itself at another time: equal beats at one rate are no evidence. Except where
#: the signals are equal to this correlation.
MOST_OF_OWN, EQUAL = 0.5, 0.9995
#: The shortest common part, s.
SHORTEST_S = RULES[0][0]
#: Smallest levelled power of a part that counts in full. That of an ECG is 0.6 and more
#: (real and synthetic recordings), that of a pulse on a flat line 0.3.
MIN_ACTIVE = 0.55
#: Ends of a recording that are not compared, s: the filter has other values there.
ENDS_S = 0.2

#: Pairs listed in the report.
PAIRS_SHOWN = 20
PAIR_COLUMNS = ("row", "copy_row", "lag_s", "seconds", "correlation")


class Candidate(NamedTuple):
    """Two signals and how their landmarks fit: the second is ``lag`` samples later."""

    first: int
    second: int
    lag: float
    leads: np.ndarray  # int16 [k, 2]: lead of the first and of the second signal


def find_copies(store: SignalStore) -> pd.DataFrame:
    """Find pairs of recordings of which 3 s or more are equal.

    Gain, offset, sign, lead and time may differ, and noise or a filter may have changed
    the signal slightly. The stored signals are compared: parts of a recording that were
    cropped away are not. The result is kept in the store's folder.

    Returns:
        One row per pair: row, copy_row (of the store, in ascending order), lag_s (the
        common part is so much later in ``copy_row``), seconds and correlation of the
        part that was compared. Of three and more copies not every pair is listed, but
        they are connected by pairs.
    """
    path = store.folder / FILE_NAME
    inputs = {"version": VERSION, "store": store.content}
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # missing or damaged
        known = files.read_sealed(path)
    if known.get("inputs") == inputs:
        return _pairs_table(known["pairs"])
    pairs = search_copies(store)
    try:
        files.write_sealed(
            path, {"inputs": inputs, "pairs": pairs.to_numpy().tolist()}, indent=None
        )
    except FileError as error:
        say(f"The copies are searched again next time: {error}")
    return pairs


def search_copies(store: SignalStore) -> pd.DataFrame:
    """Find copies in the stored signals, without looking for an earlier result."""
    compare = _Comparison(store)
    pairs: dict[tuple[int, int], list[float]] = {}
    for candidate in candidates(_landmarks_of(store)):
        key = (candidate.first, candidate.second)
        if key in pairs:
            continue
        result = compare(candidate)
        if result is not None:
            seconds, correlation = result
            lag_s = round(candidate.lag / RATE, 3)
            pairs[key] = [*key, lag_s, seconds, round(correlation, 4)]
    return _pairs_table(list(pairs.values()))


def _pairs_table(pairs: list[list[float]]) -> pd.DataFrame:
    table = pd.DataFrame(pairs, columns=list(PAIR_COLUMNS))
    table = table.astype(dict.fromkeys(PAIR_COLUMNS, "float64"))
    table = table.astype({"row": "int64", "copy_row": "int64"})
    return table.sort_values(["row", "copy_row"], ignore_index=True)


def copy_groups(n_records: int, pairs: pd.DataFrame) -> np.ndarray:
    """Number the groups of copies.

    Returns:
        int64 ``[n_records]``: copies of each other share a number, directly or through
        other copies; -1 for a recording without a copy.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, copies = pairs["row"].to_numpy(), pairs["copy_row"].to_numpy()
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_matrix((ones, (rows, copies)), shape=(n_records, n_records))
    _, groups = connected_components(graph, directed=False)
    is_alone = np.bincount(groups, minlength=1)[groups] == 1
    return np.where(is_alone, -1, groups).astype(np.int64)


def with_copies(records: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Add the column copy_group to the records of a store: one text for all copies of
    a recording, "" where there is none.

    Args:
        records: with the column row.
        pairs: from `find_copies`.
    """
    n_rows = int(records["row"].max()) + 1
    groups = copy_groups(n_rows, pairs)[records["row"]]
    names = pd.Series(groups, index=records.index).map("copy-{}".format)
    return records.assign(copy_group=names.where(groups >= 0, ""))


def describe_copies(pairs: pd.DataFrame, records: pd.DataFrame) -> dict[str, Any]:
    """Describe copies for the report of the splits.

    Args:
        pairs: from `find_copies`.
        records: from `with_copies`, with labels.

    Returns:
        Plain JSON: ``summary`` (one line, "" without copies), ``recordings``,
        ``groups``, ``groups_with_different_labels`` and ``pairs``: the first
        `PAIRS_SHOWN` of them with ids and labels.
    """
    in_copies = records[records["copy_group"] != ""]
    labels = in_copies.groupby("copy_group")["label"].nunique()
    n_different = int((labels > 1).sum())
    about = records.set_index("row")
    shown = pairs.head(PAIRS_SHOWN)
    table = pd.DataFrame(
        {
            "recording": about.loc[shown["row"], "record_id"].to_numpy(),
            "copy": about.loc[shown["copy_row"], "record_id"].to_numpy(),
            "labels": (
                about.loc[shown["row"], "label"].to_numpy()
                + " / "
                + about.loc[shown["copy_row"], "label"].to_numpy()
            ),
            "lag_s": shown["lag_s"].to_numpy(),
            "seconds": shown["seconds"].to_numpy(),
            "correlation": shown["correlation"].to_numpy(),
        }
    )
    summary = ""
    if len(pairs):
        names = table["recording"] + " = " + table["copy"]
        summary = (
            f"{len(in_copies)} recordings have at least {SHORTEST_S:g} s of signal in "
            f"common with another one ({first_few(names.tolist(), 3)}), in "
            f"{len(labels)} groups"
        )
        if n_different:
            summary += f", of which {n_different} have different labels"
        summary += "."
    return {
        "summary": summary,
        "recordings": len(in_copies),
        "groups": len(labels),
        "groups_with_different_labels": n_different,
        "pairs": table.to_dict("records"),
    }


def too_short_for_copies(store: SignalStore) -> tuple[str, str] | None:
    """Return a warning and what to do where the signals of a store are too short for
    the search, else ``None``.
    """
    seconds = store.n_samples / store.fs
    if seconds >= SHORTEST_S + 2 * ENDS_S:
        return None
    return (
        f"The stored signals are {seconds:.3g} s long, too short to be searched for "
        "copies: only identical signals are kept together.",
        "Raise TARGET_SAMPLES to "
        f"{math.ceil((SHORTEST_S + 2 * ENDS_S) * store.fs)} or more.",
    )


def _landmarks_of(store: SignalStore) -> Landmarks:
    parts = []
    starts = range(0, len(store), BATCH)
    for start in progress(starts, title="Looking for copies (batches)"):
        rows = np.arange(start, min(start + BATCH, len(store)))
        valid = store.valid(rows)
        band, levelled = narrow_signals(store.read(rows), valid, store.fs)
        bounds = narrow_bounds(valid, store.fs)
        parts.append(find_landmarks(band, levelled, bounds, start))
    return Landmarks.join(parts)


def candidates(landmarks: Landmarks) -> Iterator[Candidate]:
    """Yield pairs of signals with several landmarks in common at one lag.

    Of several lags of a pair the one with most landmarks comes first.
    """
    first, second = _similar_landmarks(landmarks)
    record, lead, time = landmarks.record, landmarks.lead, landmarks.time
    lag = time[second] - time[first]
    # Bins of one sample, and the same half a sample later: no lag is at an edge of
    # both.
    lag_bin = np.concatenate([2 * np.rint(lag), 2 * np.floor(lag) + 1]).astype(np.int64)
    first, second, lag = (np.tile(values, 2) for values in (first, second, lag))
    order = np.lexsort((time[first], lag_bin, record[second], record[first]))
    first, second, lag, lag_bin = (
        values[order] for values in (first, second, lag, lag_bin)
    )
    pair = record[first].astype(np.int64) << 32 | record[second]
    is_new = (np.diff(pair, prepend=-1) != 0) | (np.diff(lag_bin, prepend=0) != 0)
    starts = np.flatnonzero(is_new)
    sizes = np.diff(starts, append=len(pair))
    is_instant = is_new | (np.diff(time[first], prepend=0) > INSTANT)
    n_instants = np.add.reduceat(is_instant, starts) if len(starts) else sizes
    enough = np.flatnonzero((sizes >= MIN_LANDMARKS) & (n_instants >= MIN_INSTANTS))
    by_pair = np.lexsort((-sizes[enough], pair[starts[enough]]))
    previous, n_lags = -1, 0
    for start, size in zip(
        starts[enough[by_pair]], sizes[enough[by_pair]], strict=True
    ):
        n_lags = n_lags + 1 if pair[start] == previous else 1
        previous = pair[start]
        if n_lags <= LAGS_PER_PAIR:
            members = slice(start, start + size)
            leads = np.column_stack([lead[first[members]], lead[second[members]]])
            yield Candidate(
                int(record[first[start]]),
                int(record[second[start]]),
                float(np.median(lag[members])),
                np.unique(leads, axis=0),
            )


def _similar_landmarks(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of landmarks of different signals with similar codes: two arrays of
    positions; the first ones belong to the signal with the smaller number.
    """
    record, code = landmarks.record, landmarks.code
    keys = []
    for rotation in ROTATIONS:
        order = np.argsort(_rotated(code, rotation), kind="stable")
        for step in range(1, FOLLOWERS + 1):
            one, other = order[:-step], order[step:]
            n_different = np.bitwise_count(code[one] ^ code[other])
            is_similar = n_different <= DIFFERENT_BITS
            is_similar &= record[one] != record[other]
            # Records ascend with the position.
            ends = np.sort([one[is_similar], other[is_similar]], axis=0)
            keys.append(ends[0] * len(code) + ends[1])
    return np.divmod(np.unique(np.concatenate(keys)), len(code))


def _rotated(code: np.ndarray, n_bits: int) -> np.ndarray:
    if not n_bits:
        return code
    return code << np.uint64(n_bits) | code >> np.uint64(CODE_BITS - n_bits)


class _Comparison:
    """Correlate the signals of candidates; recently used ones stay in memory."""

    def __init__(self, store: SignalStore) -> None:
        self.store = store
        # 256 signals of 12 leads and 10 s: 12 MB
        self.levelled = functools.lru_cache(maxsize=256)(self._levelled)

    def _levelled(self, row: int) -> tuple[np.ndarray, Any]:
        valid = self.store.valid(row)
        _, levelled = narrow_signals(self.store.read(row), valid, self.store.fs)
        return levelled[0], narrow_bounds(valid, self.store.fs)[0]

    def __call__(self, candidate: Candidate) -> tuple[float, float] | None:
        """Return the seconds and the correlation of the first of `RULES` that is met,
        ``None`` for no copy.
        """
        first, bounds = self.levelled(candidate.first)
        second, other_bounds = self.levelled(candidate.second)
        start = max(bounds[0], other_bounds[0] - candidate.lag) + ENDS_S * RATE
        stop = min(bounds[1], other_bounds[1] - candidate.lag) - ENDS_S * RATE
        common = slice(math.ceil(start), max(math.floor(stop), 0))
        earlier = _delayed(second, -candidate.lag)[:, common]
        leads, other_leads = candidate.leads.T
        first, earlier = first[leads, common], earlier[other_leads]
        chosen = _partners(candidate.leads, first, earlier)
        for seconds, least in RULES:
            correlation, at = local_correlation(first[chosen], earlier[chosen], seconds)
            if correlation < least:
                continue
            whole = self.levelled(candidate.first)[0][leads[chosen]]
            own = own_correlation(whole, common.start + at, seconds)
            is_clear = 1 - correlation <= MOST_OF_OWN * (1 - own)
            if is_clear or correlation >= EQUAL:
                return seconds, correlation
        return None


def _partners(leads: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[int]:
    """Choose rows of which each has leads of its own, those that correlate best first:
    landmarks of lead II also resemble those of aVF.
    """
    product = np.abs((first * second).sum(axis=1))
    power = (first * first).sum(axis=1) * (second * second).sum(axis=1)
    correlation = product / np.sqrt(np.where(power > 0, power, 1))
    chosen: list[int] = []
    for row in np.argsort(correlation)[::-1]:
        if not (leads[chosen] == leads[row]).any():
            chosen.append(int(row))
    return chosen


def local_correlation(
    first: np.ndarray, second: np.ndarray, seconds: float
) -> tuple[float, int]:
    """Return the largest correlation of any ``seconds`` of two signals, and the first
    sample of that part.

    Args:
        first: levelled ``[k, n]`` at `RATE`.
        second: the same part of the other signal, lead by lead; the sign of a lead may
            differ.
        seconds: length of the part.

    Returns:
        0 to 1, 0 for signals that are shorter; parts where nothing happens do not
        count as equal.
    """
    width = round(seconds * RATE)
    if first.shape[1] < width:
        return 0.0, 0
    product = np.abs(_running_sum(first * second, width))
    least = MIN_ACTIVE * width
    power = np.maximum(_running_sum(first * first, width), least)
    other_power = np.maximum(_running_sum(second * second, width), least)
    scale = np.sqrt(power * other_power)
    correlation = product.sum(axis=0) / scale.sum(axis=0)
    best = int(correlation.argmax())
    return float(correlation[best]), best


def own_correlation(signal: np.ndarray, start: int, seconds: float) -> float:
    """Return how well a part of a signal correlates with the same signal at any other
    time: near 1 for equal beats at one rate, which two people may have.

    Args:
        signal: levelled ``[k, n]`` at `RATE`.
        start: first sample of the part.
        seconds: its length.
    """
    width = round(seconds * RATE)
    part = signal[:, start : start + width]
    rows = zip(signal, part, strict=True)
    product = np.abs([np.correlate(row, row_part) for row, row_part in rows])
    least = MIN_ACTIVE * width
    power = np.maximum(_running_sum(signal * signal, width), least)
    scale = np.sqrt(power * power[:, start : start + 1])
    correlation = product.sum(axis=0) / scale.sum(axis=0)
    nearest = round(PEAK_DISTANCE_S * RATE)  # the part itself
    correlation[max(start - nearest, 0) : start + nearest] = 0
    return float(correlation.max())


def _running_sum(values: np.ndarray, width: int) -> np.ndarray:
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    sums = np.pad(sums, [(0, 0), (1, 0)])
    return sums[:, width:] - sums[:, :-width]


def _delayed(signal: np.ndarray, n_samples: float) -> np.ndarray:
    """Delay ``[k, n]`` by a fractional number of samples, circularly."""
    spectrum = np.fft.rfft(signal, axis=1)
    frequency = np.fft.rfftfreq(signal.shape[1])  # cycles per sample
    spectrum *= np.exp(-2j * np.pi * frequency * n_samples)
    return np.fft.irfft(spectrum, signal.shape[1], axis=1)
