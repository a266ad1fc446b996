"""China Physiological Signal Challenge 2018: 12-lead recordings with nine labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ecgnb.core.errors import LabelError, ReadError, first_few
from ecgnb.data.catalog.base import CATALOG, Dataset, Query, Record, unify, with_unified
from ecgnb.data.catalog.dataset_files import read_table, tables_beside, walk
from ecgnb.data.cell_text import is_missing, without_decimals
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

    Checked against the organisers' ``score_py3.py`` (Wang, Liu and Liu): the columns
    First_label, Second_label and Third_label, the numbers 1 to 9 in this order, empty
    cells without meaning. Their score compares one answer per recording with up to
    three labels; it is not reported, as a multi-label model has no single answer.
    """

    expects = "MATLAB files A0001.mat and so on with REFERENCE.csv or labels.csv"
    label_sets = with_unified(challenge=_CLASSES)
    signature = "REFERENCE.csv"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether the reference table has a row of names, which that of the
        Challenge of 2017 has not.
        """
        for path in folder.glob(cls.signature):
            first_line, *_ = path.read_text(errors="replace").split("\n")
            return "label" in first_line.lower()
        return False

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
                unified = [_UNIFIED.get(label, "") for label in labels]
                labels = unify(unified, known=bool(labels))
            path = files[record]
            yield Record(record, path, labels, fs=CPSC2018_FS, leads=STANDARD_12)


def _labels(root: Path, expects: str) -> dict[str, tuple[str, ...]]:
    """Return the classes of each record from the first label table that is there."""
    files = tables_beside(root, "REFERENCE.csv") or tables_beside(root, "labels.csv")
    if not files:
        raise ReadError(
            "empty", f"{root} is no folder of cpsc2018. Expected there: {expects}."
        )
    classes: dict[str, tuple[str, ...]] = {}
    for path in files:
        for record, *cells in read_table(path).itertuples(index=False):
            name = record.strip().removesuffix(".mat")
            labels = _labels_of(cells, name, path)
            if classes.setdefault(name, labels) != labels:
                raise LabelError(
                    f"{path} labels {name} {'|'.join(labels)}, another table "
                    f"{'|'.join(classes[name])}. Keep one of {first_few(files)}."
                )
    return classes


def _labels_of(cells: Sequence[str], record: str, path: Path) -> tuple[str, ...]:
    """Return the one to three labels of a record; further cells are empty."""
    labels = []
    for text in "|".join(cells).split("|"):
        name = without_decimals(text.strip().lower())  # pandas writes 5 as 5.0
        if is_missing(name):
            continue
        if name not in _CLASS_OF:
            raise LabelError(
                f"{path} labels {record} {name!r}; the classes are "
                f"{', '.join(_CLASSES)}."
            )
        labels.append(_CLASS_OF[name])
    return tuple(labels)
