"""Parse the comments of WFDB headers: age, sex, diagnosis codes, patient id."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from ecgnb.data.cell_text import patient_id, without_decimals

#: Ages above this are codes (PTB-XL writes 300 for "over 89"), not ages.
MAX_AGE = 130.0

_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}
_PATIENT_KEYS = (
    "patient id",
    "patient_id",
    "patientid",
    "patient",
    "patient number",
    "subject id",
)
_DX_LINE = re.compile(r"\s*<?dx>?\s*[:=\s](.*)", re.IGNORECASE | re.DOTALL)
_CODE_SEPARATORS = re.compile(r"[,;|\s]+")
_MIT_BIH = re.compile(r"^(\d{1,3}) ([MF])\b")  # "69 M 1085 1629 x1" in MIT-BIH headers


def parse_comments(comments: Sequence[str]) -> dict[str, Any]:
    """Parse comments such as ``"Age: 77"``, ``"<sex>: F"`` or ``"Dx: 426783006"``.

    Args:
        comments: comment lines without their leading ``#``.

    Returns:
        ``age`` in years or None; ``sex``, one of ``"male"``, ``"female"``, ``""``;
        ``dx``, list of codes of all ``Dx`` lines; ``patient_id``, empty if unknown;
        ``fields``, every ``key: value`` line with keys in lower case (the first of
        equal keys counts);
        ``comments`` unchanged.

    >>> parse_comments(["Age: 77", "Dx: ", "Rx: Unknown"])["dx"]
    []
    """
    fields: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            fields.setdefault(key.strip(" \t<>").lower(), value.strip())
    age_text, sex = fields.get("age", ""), fields.get("sex", "")
    if comments and "age" not in fields and (match := _MIT_BIH.match(comments[0])):
        age_text, sex = match[1], match[2]
    patient_ids = [patient_id(fields.get(key, "")) for key in _PATIENT_KEYS]
    return {
        "age": parse_age(age_text),
        "sex": _SEX.get(sex.lower(), ""),
        "dx": _codes(comments),
        "patient_id": next(filter(None, patient_ids), ""),
        "fields": fields,
        "comments": list(comments),
    }


def _codes(comments: Sequence[str]) -> list[str]:
    """Return the codes of all ``Dx`` lines, each once.

    Commas, semicolons, ``|`` and blanks separate codes; numbers are without decimals,
    leading zeros and digits of other scripts.
    """
    codes: list[str] = []
    for comment in comments:
        line = _DX_LINE.match(comment)
        if line:
            plain = unicodedata.normalize("NFKC", line[1])
            codes += filter(None, _CODE_SEPARATORS.split(plain))
    return list(dict.fromkeys(map(_plain_code, codes)))


def _plain_code(code: str) -> str:
    code = without_decimals(code.strip("'\"[]()"))
    return code.lstrip("0") or code if code.isdecimal() else code


def parse_age(text: str) -> float | None:
    """Return an age in years, or None for what is not one (``"NaN"``, ``"Unknown"``,
    negative, above `MAX_AGE`).
    """
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= MAX_AGE else None
