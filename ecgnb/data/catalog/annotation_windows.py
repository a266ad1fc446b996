"""Windows of long annotated recordings, labelled by the rhythm that fills most."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ecgnb.data.catalog.base import Query, Record
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset, header_facts

#: Length of a window in seconds.
WINDOW_S = 10.0
#: Symbol of an annotation of a rhythm, with a note such as ``(AFIB``.
RHYTHM_SYMBOL = "+"
#: Symbols of beats: https://archive.physionet.org/physiobank/annotations.shtml
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")


@dataclass(frozen=True, eq=False)
class Annotations:
    """Rhythms and beats of one recording.

    Attributes:
        n_samples: length of the recording.
        changes: int64 ``[n]``, samples at which a rhythm begins.
        rhythms: names of the rhythms, one per change, without the leading ``(``.
        beats: int64 ``[m]``, samples of the beats.
        symbols: text ``[m]``, one per beat.
    """

    n_samples: int
    changes: np.ndarray
    rhythms: tuple[str, ...]
    beats: np.ndarray
    symbols: np.ndarray

    def durations(self, start: int, stop: int) -> dict[str, int]:
        """Return how many samples of a window each rhythm fills; samples before the
        first change have none.
        """
        ends = np.append(self.changes[1:], self.n_samples)
        firsts = np.maximum(self.changes, start)
        lasts = np.minimum(ends, stop)
        inside = lasts - firsts  # samples; not positive outside of the window
        samples: dict[str, int] = {}
        for index in np.flatnonzero(inside > 0):
            rhythm = self.rhythms[index]
            samples[rhythm] = samples.get(rhythm, 0) + int(inside[index])
        return samples

    def beats_in(self, start: int, stop: int) -> np.ndarray:
        """Return the symbols of the beats in a window."""
        first, last = np.searchsorted(self.beats, [start, stop])
        return self.symbols[first:last]


def main_rhythm(durations: dict[str, int]) -> str:
    """Return the rhythm that fills most of a window (the earlier of two equal ones), ""
    where none is annotated.

    >>> main_rhythm({"N": 300, "AFIB": 700}), main_rhythm({})
    ('AFIB', '')
    """
    return max(durations, key=durations.__getitem__, default="")


def read_annotations(path: Path, n_samples: int, before_first: str = "") -> Annotations:
    """Read the reference annotations of a WFDB record.

    Args:
        path: the record's header.
        n_samples: length of the recording.
        before_first: rhythm from the beginning to the first annotated one; "" for
            none.
    """
    import wfdb  # slow to import, and only annotated data sets need it

    record_name = str(path.with_suffix(""))
    annotation = wfdb.rdann(record_name, "atr")
    samples = np.asarray(annotation.sample, dtype=np.int64)
    symbols = np.array(annotation.symbol, dtype=str)
    notes = annotation.aux_note
    is_beat = np.isin(symbols, list(BEAT_SYMBOLS))
    changes, rhythms = [], []
    if before_first:
        changes.append(0)
        rhythms.append(before_first)
    for sample, symbol, note in zip(samples, symbols, notes, strict=True):
        note = (note or "").strip(" \t\0")  # some files pad notes with zeros
        if symbol == RHYTHM_SYMBOL and note.startswith("("):
            changes.append(sample)
            rhythms.append(note[1:])
    return Annotations(
        n_samples=n_samples,
        changes=np.array(changes, dtype=np.int64),
        rhythms=tuple(rhythms),
        beats=samples[is_beat],
        symbols=symbols[is_beat],
    )


def windows(n_samples: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of whole windows, end to end.

    The rest is dropped; a recording shorter than a window is one window.

    >>> list(windows(2500, 1000)), list(windows(700, 1000))
    ([(0, 1000), (1000, 1000)], [(0, 700)])
    """
    if n_samples < length:
        yield 0, n_samples
        return
    for start in range(0, n_samples - length + 1, length):
        yield start, length


class WindowedDataset(WfdbDataset):
    """A data set of long recordings, one row per window.

    Attributes:
        before_first: rhythm before the first annotated one.
    """

    before_first: ClassVar[str] = ""

    @abstractmethod
    def window_labels(
        self, durations: dict[str, int], beats: np.ndarray, query: Query
    ) -> Iterable[str]:
        """Return the labels of one window.

        Args:
            durations: samples that each rhythm fills.
            beats: symbols of its beats.
            query: the options, of which ``label_set`` selects the labels.
        """

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield the windows of every recording that has annotations, called
        ``<record>-<index>``.
        """
        for path, header in self.headers(root, query):
            patient = self.patient(path, {"patient_id": ""}, {})
            facts = header_facts(header)
            if header is None or header.n_samples is None:
                yield Record(path.stem, path, patient_id=patient, **facts)
                continue
            if not path.with_suffix(".atr").is_file():
                query.left_out["absent"] += 1
                continue
            annotations = read_annotations(path, header.n_samples, self.before_first)
            spans = windows(header.n_samples, round(WINDOW_S * header.fs))
            for index, (start, length) in enumerate(spans):
                durations = annotations.durations(start, start + length)
                beats = annotations.beats_in(start, start + length)
                labels = self.window_labels(durations, beats, query)
                facts |= {"n_samples": length, "start": start}
                name = f"{path.stem}-{index:04d}"
                yield Record(name, path, labels, patient, **facts)
