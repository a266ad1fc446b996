"""PhysioNet/CinC Challenges 2020 and 2021: 12-lead recordings with SNOMED CT codes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from ecgnb.core.errors import ConfigError
from ecgnb.data.catalog.base import CATALOG, Query, unify, with_unified
from ecgnb.data.catalog.dataset_files import own_table
from ecgnb.data.catalog.wfdb_dataset import Comments, Table, WfdbDataset
from ecgnb.data.cell_text import is_missing
from ecgnb.data.labels.label_cells import NO_CLASS

#: The class of sinus rhythm, "normal" for the Challenge's metric.
NORMAL_CLASS = "NSR"

_TABLE = own_table("snomed.csv")
_ROW_OF = {}  # by code, and by abbreviation in lower case
for _row in _TABLE.to_dict("records"):
    _ROW_OF[_row["code"]] = _row
    _ROW_OF[_row["abbreviation"].lower()] = _row


_SNOMED_CODE = re.compile(r"\d{6,18}")  # length of a SNOMED CT identifier


@functools.cache
def challenge_weights(year: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the scored classes of the Challenge of 2020 or 2021 and its weights.

    Equivalent codes are one class, as in the official score: CRBBB and RBBB, PAC and
    SVPB, PVC and VPB, and in 2021 CLBBB and LBBB.

    Args:
        year: 2020 or 2021.

    Returns:
        Classes (abbreviations of the Challenge, in the order of its table: 24 in 2020,
        26 in 2021) and the matrix ``[n_classes, n_classes]``: the reward of a decision
        (column) where a class (row) is true.

    Raises:
        ConfigError: for any other year.
    """
    if year not in (2020, 2021):
        raise ConfigError(
            f"There are weights for the Challenges of 2020 and 2021, not of {year}."
        )
    table = own_table(f"cinc{year}_weights.csv").set_index("class")
    classes = tuple(table.index)
    weights = table[list(classes)].to_numpy(dtype=np.float64)
    weights.flags.writeable = False  # the cache shares it among all callers
    return classes, weights


@CATALOG.register("cinc2020")
class Cinc2020(WfdbDataset):
    """Challenge 2020. A recording has the classes of all codes in its ``#Dx:`` line.

    Classes have the Challenge's abbreviations: ``scored`` has the scored ones with
    equivalent codes joined (see `challenge_weights`), ``all`` every code of the
    Challenge's tables. Early headers contain abbreviations in place of codes. Patients
    are unknown.

    As in the official metric, a recording whose codes are all of other classes stays in
    as one without any class. A text that is neither a code nor an abbreviation of the
    tables is counted as not understood. Without a code that is understood, and with
    ``Dx: Unknown`` or an empty line, the label is unknown.

    The first letters of a record are its source: A and Q CPSC 2018 and its unused part,
    I St Petersburg, S PTB, HR PTB-XL (HR00001 is PTB-XL 1), E Georgia. So this data set
    shares recordings with ``ptbxl``, ``cpsc2018`` and ``ptbdb``.

    Unified labels: MI by the four infarction codes, AF by the five codes of atrial
    fibrillation, BBB by any bundle branch block, NORM by sinus rhythm as the only code,
    OTHER by any other code of the tables. A code that is not understood is never OTHER,
    and beside it sinus rhythm is not NORM.

    Classification of 12-lead ECGs: PhysioNet/CinC Challenge 2020. Perez Alday EA, et
    al. Physiol Meas 2020;41:124003. doi:10.1088/1361-6579/abc960.

    Licence: CC BY 4.0.

    Checked against the organisers' ``evaluate_12ECG_score.py`` and
    ``evaluate_model.py`` (github.com/physionetchallenges/evaluation-2020 and -2021):
    equivalent codes, order and weights of the scored classes; every record with a
    ``Dx`` line counts, also without a scored class. An early version of 2020 that made
    such a record sinus rhythm was replaced.
    """

    expects = (
        "WFDB records A0001, Q0001, I0001, S0001, HR00001 or E00001 and so on with a "
        "#Dx: line in their headers"
    )
    download = "challenge-2020/1.0.2"
    label_sets = with_unified(
        scored=challenge_weights(2020)[0], all=tuple(_TABLE["abbreviation"])
    )
    pattern = re.compile(r"(A|Q|I|S|HR|E)\d{4,5}")
    scored_column = "scored_2020"

    def labels(
        self, record_id: str, comments: Comments, table: Table, query: Query
    ) -> Iterable[str]:
        """Return the classes of the codes in the header."""
        codes = [code for code in comments["dx"] if not _is_unknown(code)]
        rows, others = [], []
        for code in codes:
            row = _ROW_OF.get(code.lower())
            if row is None:
                others.append(code)
            else:
                rows.append(row)
        query.not_understood.update(others)
        if query.label_set == "unified":
            unified = {row["unified"] for row in rows}
            if len(codes) > 1:  # sinus rhythm beside a finding is not normal
                unified.discard("NORM")
            findings = [row for row in rows if row["unified"] != "NORM"]
            return unify(unified, known=bool(findings or (rows and not others)))
        column = "abbreviation" if query.label_set == "all" else self.scored_column
        classes = [row[column] for row in rows]
        # a number of the length of a code, though not in the tables, is of no class
        if rows or any(map(_SNOMED_CODE.fullmatch, others)):
            classes.append(NO_CLASS)
        return classes


def _is_unknown(code: str) -> bool:
    return is_missing(code) or code.lower() == "unknown"


@CATALOG.register("cinc2021")
class Cinc2021(Cinc2020):
    """Challenge 2021: as `Cinc2020`, with JS (Chapman-Shaoxing and Ningbo).

    Will Two Do? Varying Dimensions in Electrocardiography: PhysioNet/CinC Challenge
    2021. Reyna MA, et al. Comput Cardiol 2021;48. doi:10.23919/CinC53138.2021.9662687.

    Licence: CC BY 4.0.
    """

    expects = (
        "WFDB records A0001, HR00001, JS00001 and so on with a #Dx: line in their "
        "headers"
    )
    download = "challenge-2021/1.0.3"
    label_sets = with_unified(
        scored=challenge_weights(2021)[0], all=tuple(_TABLE["abbreviation"])
    )
    pattern = re.compile(r"(A|Q|I|S|HR|E|JS)\d{4,5}")
    scored_column = "scored_2021"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Return whether the first header has a name of the Challenges and a Dx
        line.
        """
        for path in islice(folder.glob("*.hea"), 1):
            comments = path.read_text(encoding="utf-8", errors="replace")
            return bool(cls.pattern.fullmatch(path.stem)) and "#Dx" in comments
        return False
