"""China Physiological Signal Challenge 2018: 12-lead recordings with nine labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ecgnb.core.errors import LabelError, ReadError
from ecgnb.data.catalog.base import CATALOG, Dataset, Query, Record, unify, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside, walk
from ecgnb.data.readers.matlab import CPSC2018_FS, MatlabReader
from ecgnb.data.signal.leads import STANDARD_12

#: In the order of the Challenge's numbers 1 to 9.
_CLASSES = ("NSR", "AF", "IAVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
_CLASS_OF = {"normal": "NSR", "i-avb": "IAVB"}
for _number, _name in enumerate(_CLASSES, start=1):
    _CLASS_OF |= {_name.lower(): _name, str(_number): _name}
_UNIFIED = {"NSR": "NORM", "AF": "AF", "LBBB": "BBB", "RBBB": "BBB"}


@CATALOG.register("cpsc2018")
class Cpsc2018(Dataset):
    """CPSC 2018: 6,877 recordings of 6 to 60 s, one to three labels each.

    MATLAB files with ``REFERENCE.csv``, or with ``labels.csv``: one record and its
    labels per row. Classes: NSR normal, AF, IAVB first-degree block, LBBB, RBBB, PAC,
    PVC, STD and STE (ST depression and elevation). The recordings are in ``cinc2020``
    too, under the same names. Patients are unknown.

    Unified labels: NSR is NORM, AF is AF, LBBB and RBBB are BBB, the rest OTHER. MI is
    not among the nine classes.

    China Physiological Signal Challenge 2018. Liu F, et al. J Med Imaging Health Inform
    2018;8:1368-1373. doi:10.1166/jmihi.2018.2442.

    Licence: open access; CC BY 4.0 as part of the PhysioNet/CinC Challenge 2020.
    """

    expects = "MATLAB files A0001.mat and so on with REFERENCE.csv or labels.csv"
    label_sets = with_unified(challenge=_CLASSES)

    def records(self, root: Path, query: Query) -> Iterator[Record]:
        """Yield the recordings of the label table that are there."""
        files: dict[str, Path] = {}
        for path in walk(root, MatlabReader.suffixes):
            files.setdefault(path.stem, path)
        for record, labels in sorted(_labels(root, self.expects).items()):
            if record not in files:
                query.left_out["absent"] += 1
                continue
            if query.label_set == "unified":
                labels = unify([_UNIFIED.get(label, "") for label in labels])
            path = files[record]
            yield Record(record, path, labels, fs=CPSC2018_FS, leads=STANDARD_12)


def _labels(root: Path, expects: str) -> dict[str, tuple[str, ...]]:
    """Return the classes of each record from the first label table that is there."""
    files = tables_beside(root, "REFERENCE.csv") or tables_beside(root, "labels.csv")
    if not files:
        raise ReadError(
            "empty", f"{root} is no folder of cpsc2018. Expected there: {expects}."
        )
    table = pd.concat(map(read_table, files))
    classes: dict[str, tuple[str, ...]] = {}
    for record, *cells in table.itertuples(index=False):
        labels = []
        for text in "|".join(map(str, cells)).split("|"):
            name = text.strip().lower()
            if name and name not in _CLASS_OF:
                raise LabelError(
                    f"{files[0]} labels {record} {name!r}; the classes are "
                    f"{', '.join(_CLASSES)}."
                )
            if name:  # a record has one to three labels, the other cells are empty
                labels.append(_CLASS_OF[name])
        classes[record.strip().removesuffix(".mat")] = tuple(labels)
    return classes
