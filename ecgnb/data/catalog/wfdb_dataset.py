"""Data sets of WFDB records, labelled by header comments or by tables beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecgnb.core.errors import ReadError
from ecgnb.core.progress import progress
from ecgnb.core.transient import refuse_transient
from ecgnb.data.catalog.base import Dataset, Query, Record
from ecgnb.data.catalog.dataset_files import walk
from ecgnb.data.readers.header_comments import parse_comments
from ecgnb.data.readers.wfdb_header import Header, read_header
from ecgnb.data.signal.leads import normalise_lead

#: Comments of a header, as `parse_comments` returns them.
Comments = Mapping[str, Any]
#: What the tables beside the recordings state, by record.
Table = Mapping[str, Any]


def header_or_none(path: Path) -> Header | None:
    """Return a header, or None for one that cannot be read.

    The recording stays in the manifest, so that preparation rejects it with the reason.
    """
    try:
        return read_header(path)
    except ReadError as error:
        refuse_transient(error, path)
        return None


def header_facts(header: Header | None) -> dict[str, Any]:
    """Return the manifest's ``fs``, ``n_samples`` and ``leads`` of a header."""
    if header is None:
        return {}
    return {
        "fs": header.fs or float("nan"),  # 0 Hz is no rate
        "n_samples": header.n_samples,
        "leads": list(map(normalise_lead, header.leads)),
    }


class WfdbDataset(Dataset):
    """A data set with a header for each recording.

    Attributes:
        pattern: names of its records; headers with other names count as another data
            set's.
    """

    pattern: ClassVar[re.Pattern[str]]

    def table(self, root: Path) -> Table:
        """Return what the tables beside the recordings state, by record."""
        return {}

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the labels of a recording; the default is none.

        Args:
            record_id: its name.
            comments: its header's comments, as `parse_comments` returns them.
            table: the return value of `table`.
            query: the options, of which ``label_set`` selects the labels.
        """
        return ()

    def patient(self, path: Path, comments: Comments, table: Table) -> str:
        """Return the patient's id; the default is that of the header's comments."""
        return str(comments["patient_id"])

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield a record for each header whose signal files are there."""
        table = self.table(root)
        for path, header in self.headers(root, query):
            comments = parse_comments(header.comments if header else ())
            labels = self.labels(path.stem, comments, table, query)
            patient = self.patient(path, comments, table)
            yield Record(path.stem, path, labels, patient, **header_facts(header))

    def headers(self, root: Path, query: Query) -> Iterator[tuple[Path, Header | None]]:
        """Yield the headers of the data set in ``root``; count foreign ones, and those
        without their signal files.
        """
        paths = walk(root, (".hea",))
        for path in progress(paths, title=f"headers of {query.dataset}"):
            if not self.pattern.fullmatch(path.stem):
                query.left_out["foreign"] += 1
                continue
            header = header_or_none(path)
            names = header.files if header else ()  # a damaged header stays
            if not all((path.parent / name).is_file() for name in names):
                query.left_out["absent"] += 1
                continue
            yield path, header
