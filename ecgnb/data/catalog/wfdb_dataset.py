"""Data sets of WFDB records: a recording a header, labelled by its comments or by a
table beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.core.errors import ReadError
from ecgnb.core.progress import progress
from ecgnb.data.catalog.base import Dataset, Query, Record
from ecgnb.data.catalog.dataset_files import walk
from ecgnb.data.readers.header_comments import parse_comments
from ecgnb.data.readers.wfdb_header import Header, read_header
from ecgnb.data.signal.leads import normalise_lead


def header_or_none(path: Path) -> Header | None:
    """Return a header, or None for one that cannot be read.

    The recording stays in the manifest all the same: preparation then rejects it, and
    says why.
    """
    try:
        return read_header(path)
    except ReadError:
        return None


def header_facts(header: Header | None) -> dict[str, Any]:
    """Return what a header says for the columns ``fs``, ``n_samples`` and ``leads`` of
    a manifest.
    """
    if header is None:
        return {}
    return {
        "fs": header.fs or float("nan"),
        "n_samples": header.n_samples,
        "leads": [normalise_lead(lead) for lead in header.leads],
    }


class WfdbDataset(Dataset):
    """A data set with a header for each recording.

    Attributes:
        pattern: names of its records; headers with other names are counted as another
            data set's.
    """

    pattern: ClassVar[re.Pattern[str]]

    def table(self, root: Path) -> Mapping[str, Any]:
        """Return what the tables beside the recordings say, by record."""
        return {}

    def labels(
        self,
        record_id: str,
        said: Mapping[str, Any],
        table: Mapping[str, Any],
        query: Query,
    ) -> Iterable[str]:
        """Return the labels of a recording; the default is none.

        Args:
            record_id: its name.
            said: what its header's comments say, as `parse_comments` returns it.
            table: what `table` returned.
            query: which labels are asked for.
        """
        return ()

    def patient(self, path: Path, said: Mapping[str, Any]) -> str:
        """Return who was recorded; the default is what the header says."""
        return str(said["patient_id"])

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield a record for each header whose signal files are there."""
        table = self.table(root)
        for path, header in self.headers(root, query):
            said = parse_comments(header.comments if header else ())
            labels = self.labels(path.stem, said, table, query)
            yield Record(
                path.stem,
                path,
                tuple(labels),
                self.patient(path, said),
                **header_facts(header),
            )

    def headers(self, root: Path, query: Query) -> Iterator[tuple[Path, Header | None]]:
        """Yield the headers of the data set in ``root``; count the foreign, and those
        without their signal files.
        """
        for path in progress(walk(root, (".hea",)), title=f"headers of {self.name}"):
            if not self.pattern.fullmatch(path.stem):
                query.left_out["foreign"] += 1
                continue
            header = header_or_none(path)
            if header is not None and not all(
                (path.parent / name).is_file() for name in header.files
            ):
                query.left_out["absent"] += 1
                continue
            yield path, header
