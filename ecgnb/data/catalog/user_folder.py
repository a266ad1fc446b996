"""The data set ``folder``: any folder of recordings, labelled by a mapping file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgnb.core.progress import progress
from ecgnb.data.catalog.base import CATALOG, Dataset, Query, Record
from ecgnb.data.catalog.dataset_files import walk
from ecgnb.data.catalog.wfdb_dataset import header_facts, header_or_none
from ecgnb.data.readers.base import reader_for_suffix, recording_suffixes
from ecgnb.data.readers.header_comments import parse_comments


@CATALOG.register("folder")
class Folder(Dataset):
    """All recordings below a folder, in the formats of all registered readers.

    A recording has the name of its file; where two share it, the path within the
    folder. Hidden files, annotations, segments of multi-segment records and tables that
    are not signals are ignored. The patient is known where a WFDB header states it.
    There are no labels; a mapping adds them (`ecgnb.data.labels.mapping`).
    """

    expects = (
        "WFDB headers (.hea) with their signal files, or files of another registered "
        "reader such as .mat, .npy, .npz, .csv"
    )
    is_labelled = False  # a mapping adds the labels later

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield every recording below ``root``."""
        paths = _recording_files(root)
        segments: set[Path] = set()  # headers of parts of other records
        facts: dict[Path, dict[str, Any]] = {}
        for path in progress(paths, title=f"recordings in {root.name}"):
            header = header_or_none(path) if path.suffix.lower() == ".hea" else None
            facts[path] = header_facts(header)
            if header is None:
                continue
            facts[path]["patient_id"] = parse_comments(header.comments)["patient_id"]
            for segment in header.segments:
                segments.add(path.with_name(f"{segment.name}.hea"))
        kept = [path for path in paths if path not in segments]
        for path, name in zip(kept, _unique_names(kept, root), strict=True):
            yield Record(name, path, **facts[path])


def _recording_files(root: Path) -> list[Path]:
    """Return the files below ``root`` that are recordings for their readers.

    Files beside a WFDB header of the same name belong to the header.
    """
    files = walk(root, recording_suffixes())
    headers = {path.with_suffix("") for path in files if path.suffix.lower() == ".hea"}
    recordings = []
    for path in files:
        is_header = path.suffix.lower() == ".hea"
        if not is_header and path.with_suffix("") in headers:
            continue
        reader = reader_for_suffix(path.suffix)
        if reader is not None and reader.is_recording(path):
            recordings.append(path)
    return recordings


def _unique_names(paths: list[Path], root: Path) -> list[str]:
    """Return the shortest unique name of each file: stem, path within the folder, or
    that path with its extension.
    """
    relative = [path.relative_to(root) for path in paths]
    stems = Counter([path.stem for path in relative])
    stem_paths = Counter([path.with_suffix("") for path in relative])
    names = []
    for path in relative:
        if stems[path.stem] == 1:
            names.append(path.stem)
        elif stem_paths[path.with_suffix("")] == 1:
            names.append(path.with_suffix("").as_posix())
        else:
            names.append(path.as_posix())  # a.csv beside a.npy
    return names
