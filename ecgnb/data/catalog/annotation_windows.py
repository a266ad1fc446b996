"""Long recordings with rhythms that change: cut into windows, each with the rhythm that
fills most of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ecgnb.data.catalog.base import Query, Record
from ecgnb.data.catalog.wfdb_dataset import WfdbDataset, header_facts

#: Symbol of an annotation that states a rhythm (its note then reads like ``(AFIB``);
#: others are beats or remarks.
RHYTHM_SYMBOL = "+"
#: Symbols of beats: https://archive.physionet.org/physiobank/annotations.shtml
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")


@dataclass(frozen=True, eq=False)
class Annotations:
    """Rhythms and beats of one recording.

    Attributes:
        n_samples: length of the recording.
        changes: int64 ``[n]`` samples at which a rhythm begins.
        rhythms: its name, one a change, without the leading ``(``.
        beats: int64 ``[m]`` samples of the beats.
        symbols: text ``[m]``, one a beat.
    """

    n_samples: int
    changes: np.ndarray
    rhythms: tuple[str, ...]
    beats: np.ndarray
    symbols: np.ndarray

    def durations(self, start: int, stop: int) -> dict[str, int]:
        """Return how many samples of a window each rhythm fills; what comes before the
        first change has none.
        """
        ends = np.append(self.changes[1:], self.n_samples)
        inside = np.minimum(ends, stop) - np.maximum(self.changes, start)
        found: dict[str, int] = {}
        for index in np.flatnonzero(inside > 0):
            found[self.rhythms[index]] = found.get(self.rhythms[index], 0) + int(
                inside[index]
            )
        return found

    def main_rhythm(self, start: int, stop: int) -> str:
        """Return the rhythm that fills most of a window (the earlier of two alike), ""
        where none is stated.
        """
        durations = self.durations(start, stop)
        return max(durations, key=durations.__getitem__) if durations else ""

    def beats_in(self, start: int, stop: int) -> np.ndarray:
        """Return the symbols of the beats in a window."""
        first, last = np.searchsorted(self.beats, [start, stop])
        return self.symbols[first:last]


def read_annotations(
    path: Path, n_samples: int, before_first: str = "", extension: str = "atr"
) -> Annotations:
    """Read the reference annotations of a WFDB record.

    Args:
        path: the record's header.
        n_samples: length of the recording.
        before_first: rhythm from the beginning to the first statement; "" leaves that
            part without one.
        extension: extension of the annotation file.
    """
    import wfdb

    found = wfdb.rdann(str(path.with_suffix("")), extension)
    symbols = np.array(found.symbol, dtype=str)
    notes = np.array(
        [(note or "").strip(" \t\0") for note in found.aux_note], dtype=str
    )
    is_rhythm = (symbols == RHYTHM_SYMBOL) & np.char.startswith(notes, "(")
    is_beat = np.isin(symbols, list(BEAT_SYMBOLS))
    changes = np.asarray(found.sample, dtype=np.int64)
    rhythms = tuple([str(note)[1:] for note in notes[is_rhythm]])
    first = np.zeros(1 if before_first else 0, dtype=np.int64)
    return Annotations(
        n_samples=n_samples,
        changes=np.concatenate([first, changes[is_rhythm]]),
        rhythms=((before_first, *rhythms) if before_first else rhythms),
        beats=changes[is_beat],
        symbols=symbols[is_beat],
    )


def windows(n_samples: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of whole windows, end to end; a rest is dropped, a short
    recording is one window.

    >>> list(windows(2500, 1000)), list(windows(700, 1000))
    ([(0, 1000), (1000, 1000)], [(0, 700)])
    """
    if n_samples < length:
        yield 0, n_samples
        return
    for start in range(0, n_samples - length + 1, length):
        yield start, length


class WindowedDataset(WfdbDataset):
    """A data set of long recordings, one row a window.

    Attributes:
        window_s: length of a window in seconds.
        before_first: rhythm before the first one that is stated.
    """

    window_s: ClassVar[float] = 10.0
    before_first: ClassVar[str] = ""

    @abstractmethod
    def window_labels(
        self, annotations: Annotations, start: int, stop: int, query: Query
    ) -> Iterable[str]:
        """Return the labels of one window."""

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield the windows of every recording that has annotations, called
        ``<record>-<index>``.
        """
        for path, header in self.headers(root, query):
            patient = self.patient(path, {"patient_id": ""})
            if header is None or header.n_samples is None:
                yield Record(
                    path.stem, path, patient_id=patient, **header_facts(header)
                )
                continue
            if not path.with_suffix(".atr").is_file():
                query.left_out["absent"] += 1
                continue
            annotations = read_annotations(path, header.n_samples, self.before_first)
            for index, (start, length) in enumerate(
                windows(header.n_samples, round(self.window_s * header.fs))
            ):
                labels = tuple(
                    self.window_labels(annotations, start, start + length, query)
                )
                facts = {**header_facts(header), "n_samples": length, "start": start}
                yield Record(f"{path.stem}-{index:04d}", path, labels, patient, **facts)
