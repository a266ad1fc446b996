"""Any folder of recordings, whose labels come from a mapping of one's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.core.progress import progress
from ecgnb.data.catalog.base import CATALOG, UNIFIED, Dataset, Query, Record
from ecgnb.data.catalog.dataset_files import walk
from ecgnb.data.catalog.wfdb_dataset import header_facts, header_or_none
from ecgnb.data.readers.csv_text import is_number, split_heading
from ecgnb.data.readers.wfdb_header import parse_comments
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead

_TEXT = (".csv", ".tsv", ".txt")
_SUFFIXES = (".hea", ".mat", ".npy", ".npz", *_TEXT)
#: Columns of label tables; a table with one of them is no signal, even when all its
#: cells are numbers.
_LABEL_COLUMNS = frozenset(
    {
        "record",
        "record_id",
        "recording",
        "ecg_id",
        "label",
        "labels",
        "mapped_label",
        "filename",
    }
)


@CATALOG.register("folder")
class Folder(Dataset):
    """All recordings below a folder: WFDB, MATLAB, numpy and CSV files, without labels.

    A recording is called by its file's name; where two share one, by its path within
    the folder. Hidden files, annotations, parts of multi-segment records and tables
    that are no signals are passed over. The patient is known where a header says so.
    The label set ``unified`` is empty until a mapping fills it
    (`ecgnb.data.labels.mapping`).
    """

    name = "folder"
    title = "A folder of recordings"
    licence = "your own"
    citation = ""
    expects = (
        "WFDB headers (.hea) with their signal files, or .mat, .npy, .npz, .csv files"
    )
    leads = ()
    fs = math.nan
    label_sets: ClassVar[dict[str, tuple[str, ...]]] = {"unified": UNIFIED}

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield every recording below ``root``."""
        files = walk(root, _SUFFIXES)
        headers = {
            path.with_suffix("") for path in files if path.suffix.lower() == ".hea"
        }
        found = [path for path in files if _is_recording(path, headers)]
        segments: set[Path] = set()
        facts: dict[Path, tuple[str, dict[str, Any]]] = {}
        for path in progress(found, title=f"recordings in {root.name}"):
            header = header_or_none(path) if path.suffix.lower() == ".hea" else None
            if header is not None:
                segments |= {
                    path.with_name(f"{segment.name}.hea") for segment in header.segments
                }
            patient = parse_comments(header.comments if header else ())["patient_id"]
            facts[path] = (patient, header_facts(header))
        kept = [path for path in found if path not in segments]
        for path, name in zip(kept, _names(kept, root), strict=True):
            patient, fields = facts[path]
            yield Record(name, path, patient_id=patient, **fields)

    def _check_labels(self, *_: object) -> None:
        """Labels come later, from a mapping."""


def _is_recording(path: Path, headers: set[Path]) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".hea":
        return True
    return path.with_suffix("") not in headers and (
        suffix not in _TEXT or holds_signal(path)
    )


def _names(paths: list[Path], root: Path) -> list[str]:
    """Return the shortest names that tell the files apart: stem, path within the
    folder, the same with its suffix.
    """
    relative = [path.relative_to(root) for path in paths]
    candidates = [
        [path.stem for path in relative],
        [path.with_suffix("").as_posix() for path in relative],
        [path.as_posix() for path in relative],
    ]
    counts = [Counter(names) for names in candidates]
    return [
        next(
            (
                name
                for name, count in zip(names, counts, strict=True)
                if count[name] == 1
            ),
            names[-1],
        )
        for names in zip(*candidates, strict=True)
    ]


def holds_signal(path: Path, peek: int = 8192) -> bool:
    """Tell a CSV file of samples from a table of labels or a text, by its first
    lines.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(peek).decode("latin-1")
    except OSError:
        return True  # unreadable: keep it, so that preparation says why it is not used
    lines = [
        line
        for line in text.replace("\r", "\n").split("\n")
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(text) == peek:
        lines = lines[:-1]  # cut in the middle
    if not lines:
        return False
    separator = max(",;\t", key=lines[0].count)
    cells = [[cell.strip(" \t\"'") for cell in line.split(separator)] for line in lines]
    if _LABEL_COLUMNS & {cell.lower() for cell in cells[0]}:
        return False
    if {normalise_lead(split_heading(cell)[0]) for cell in cells[0]} & set(STANDARD_12):
        return True  # leads stand above the columns: a text among the samples is for the preparation to tell of
    return len(cells) > 1 and all(
        any(map(is_number, row)) and all(is_number(cell) or not cell for cell in row)
        for row in cells[1:]
    )
