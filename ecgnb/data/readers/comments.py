"""What header comments say about the patient: age, sex, diagnoses."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

#: Ages above this are codes (PTB-XL writes 300 for "over 89"), not ages.
MAX_AGE = 130.0

_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}
_PATIENT = ("patient id", "patient_id", "patientid", "patient", "patient number", "subject id")
_MIT_BIH = re.compile(r"^(\d{1,3}) ([MF])\b")  # "69 M 1085 1629 x1" in MIT-BIH headers


def parse_comments(comments: Sequence[str]) -> dict[str, Any]:
    """Read header comments such as ``"Age: 77"``, ``"<sex>: F"`` or ``"Dx: 426783006,164865005"``.

    Args:
        comments: comment lines without their leading ``#``.

    Returns:
        ``age`` in years or None, ``sex`` ``"male"``, ``"female"`` or ``""``, ``dx`` list of codes,
        ``patient_id``, ``fields`` (every ``key: value`` line, keys in lower case, the first of equal keys),
        ``comments`` as they were.

    >>> parse_comments(["Age: 77", "Dx: ", "Rx: Unknown"])["dx"]
    []
    """
    fields: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            fields.setdefault(key.strip(" \t<>").lower(), value.strip())
    age, sex = parse_age(fields.get("age", "")), _SEX.get(fields.get("sex", "").lower(), "")
    if comments and "age" not in fields and (found := _MIT_BIH.match(comments[0])):
        age, sex = parse_age(found[1]), _SEX[found[2].lower()]
    codes = fields.get("dx", "").split(",")
    return {
        "age": age,
        "sex": sex,
        "dx": [code.strip() for code in codes if code.strip()],
        "patient_id": next((fields[key] for key in _PATIENT if fields.get(key)), ""),
        "fields": fields,
        "comments": list(comments),
    }


def parse_age(text: str) -> float | None:
    """Return an age in years, or None for what is not one (``"NaN"``, ``"Unknown"``, negative, above `MAX_AGE`)."""
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= MAX_AGE else None
