"""Text of table cells and headers: missing values, whole numbers, ids of patients."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


#: What programs write for a value that is not there, in lower case: those of pandas, R,
#: SQL and spreadsheets.
MISSING_WORDS = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "none", "null"}
)
#: What hospitals write in place of an id, in lower case: one such word is no patient.
NO_PATIENT_WORDS = MISSING_WORDS | {
    *("-", "--", ".", "?", "unknown", "unk", "missing", "not available"),
    *("anonymous", "anonymized", "anonymised", "anon", "deidentified"),
}

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0*")  # 100.0, as pandas writes integers
_SPREADSHEET_TEXT = re.compile(r'=\s*"(.*)"')  # ="001", which keeps the zeros


def is_missing(text: str) -> bool:
    """Return whether a cell states no value.

    >>> is_missing(" NaN "), is_missing("NORM")
    (True, False)
    """
    return text.strip().lower() in MISSING_WORDS


def plain_text(text: str) -> str:
    """Return a cell without the marks by which spreadsheets keep a number as text, and
    with single blanks.

    >>> plain_text('="001"'), plain_text("'001"), plain_text("left  block ")
    ('001', '001', 'left block')
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    match = _SPREADSHEET_TEXT.fullmatch(text)
    if match:
        return match[1].strip()
    has_mark = text.startswith("'") and text.count("'") == 1
    return text[1:].strip() if has_mark else text


def without_decimals(text: str) -> str:
    """Return a whole number without its decimals, any other text unchanged.

    >>> without_decimals("100.0"), without_decimals("1.5"), without_decimals("P1.0")
    ('100', '1.5', 'P1.0')
    """
    match = _WHOLE_NUMBER.fullmatch(text)
    return match[1] if match else text


@functools.lru_cache(maxsize=1 << 16)  # few patients, many recordings
def patient_id(text: str) -> str:
    """Return the id of a patient as it is compared, "" where the text names none.

    >>> patient_id("100.0"), patient_id(" p1 "), patient_id("NaN"), patient_id("?")
    ('100', 'p1', '', '')
    """
    text = without_decimals(plain_text(str(text)))
    return "" if text.lower() in NO_PATIENT_WORDS else text


def patient_ids(column: pd.Series) -> pd.Series:
    """Return a column of patients as they are compared, "" where one is unknown."""
    texts = column.astype(object).fillna("").map(patient_id)
    return texts.astype("str")


def patient_keys(column: pd.Series) -> pd.Series:
    """Return a column of patients in one case: P1 and p1 are one patient.

    To take two people for one costs little, since their recordings are merely kept
    together; to take one for two is a leak.
    """
    return patient_ids(column).str.casefold()
