"""Labels in table cells: several classes, none of them, missing ones, equal spellings.

A cell is read by these rules, the first that fits:

1. A text that LABEL_ORDER names is that class, whatever it contains.
2. A word for a missing value (``NA``, ``nan``, ``None``, an empty cell) is no label.
3. A list (``['MI', 'AF']``) has its items; ``[]`` is a recording without any class.
4. ``|`` separates classes.
5. ``;`` and ``,`` separate classes where all parts are labels of their own elsewhere; a
   part that is not is refused. A comma without any such part belongs to the label
   (``Block, left``).
6. Texts that differ in case, blanks or decimals (``True`` and ``TRUE``, 1 and 1.0) are
   one class, in its most frequent spelling; LABEL_ORDER keeps them apart by naming
   both.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ecgnb.core.errors import LabelError
from ecgnb.data.cell_text import is_missing, plain_text, without_decimals

#: The label set that every data set has, so that cohorts can be joined: myocardial
#: infarction (acute or old), atrial fibrillation (not flutter), bundle branch block
#: (complete or incomplete, left or right), a normal electrocardiogram, and anything
#: else. A recording with one of the first three is never NORM; OTHER is always alone.
UNIFIED = ("MI", "AF", "BBB", "NORM", "OTHER")
#: Label of a recording that has none of the classes. "" is an unknown label.
NO_CLASS = "[]"
#: Label of a recording of which no class is known.
UNKNOWN = ""

_RULE = (
    "Join several labels with '|' (MI|AF), and write [] for none of them. If this is "
    "one label, name it in LABEL_ORDER."
)
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def label_key(text: str) -> str:
    """Return a label as it is compared: without case, extra blanks and decimals.

    >>> label_key("TRUE") == label_key("true "), label_key("1.0")
    (True, '1')
    """
    return without_decimals(plain_text(text)).casefold()


@dataclass
class LabelColumn:
    """Labels of a column, one text per row.

    Attributes:
        labels: classes joined with ``|``; `NO_CLASS` for none, `UNKNOWN` where no label
            is stated.
        missing_words: the words that were read as missing, with their number of rows.
        with_comma: labels that contain a comma.
        merged: spellings that are one class, joined with ``=``.
    """

    labels: list[str]
    missing_words: Counter[str] = field(default_factory=Counter)
    with_comma: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)


def read_labels(cells: Sequence[str], classes: Sequence[str] = ()) -> LabelColumn:
    """Read the cells of a column of labels by the rules of this module.

    Args:
        cells: one per row.
        classes: names that are classes as they stand (LABEL_ORDER).

    Raises:
        LabelError: a cell may be one label or several.

    >>> read_labels(["MI;AF", "af", "AF", "[]", "nan"]).labels
    ['MI|AF', 'AF', 'AF', '[]', '']
    """
    counts = Counter(cells)
    named = {label_key(name) for name in classes}
    parts_of = {cell: _list_or_parts(cell, named) for cell in counts}
    alone = named | {label_key(name) for name in UNIFIED}
    for parts in parts_of.values():
        alone |= {
            label_key(part) for part in parts or () if not re.search("[;,]", part)
        }
    column = LabelColumn([])
    for cell, parts in parts_of.items():
        if parts is None:
            column.missing_words[cell.strip()] += counts[cell]
            continue
        separated: list[str] = []
        for part in parts:
            separated += _separate(part, alone, named)
        column.with_comma += [part for part in separated if "," in part]
        parts_of[cell] = separated
    del column.missing_words[""]
    spelling = _spellings(parts_of, counts, classes)
    texts = {}
    for cell, parts in parts_of.items():
        labels = [spelling[part] for part in parts or ()]
        texts[cell] = UNKNOWN if parts is None else join_labels(labels)
    column.labels = [texts[cell] for cell in cells]
    column.merged = _merged(spelling)
    return column


def join_labels(labels: Iterable[str]) -> str:
    """Join the classes of a recording; without any it is `NO_CLASS`."""
    return "|".join(dict.fromkeys(labels)) or NO_CLASS  # each class once


def _list_or_parts(cell: str, named: set[str]) -> list[str] | None:
    """Return the parts of a list or between ``|``, None for a missing label."""
    text = plain_text(cell)
    if label_key(text) in named:
        return [text]
    if is_missing(text):
        return None
    if text[0] in _BRACKETS and text.endswith(_BRACKETS[text[0]]):
        return _items(text)
    parts = [plain_text(part) for part in text.split("|")]
    parts = [part for part in parts if part]
    stated = [
        part for part in parts if not is_missing(part) or label_key(part) in named
    ]
    return None if parts and not stated else stated


def _items(text: str) -> list[str]:
    """Return the items of a written list, tuple or set."""
    inside = text[1:-1].strip()
    try:
        value = ast.literal_eval(text) if inside else []
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = inside.split(",")  # [MI, AF], without quotes
    if isinstance(value, str | int | float):
        value = [value]  # ('MI') is no tuple in Python
    is_flat = isinstance(value, list | tuple | set)
    items = [plain_text(str(item)) for item in value] if is_flat else []
    n_quoted = len(_QUOTED.findall(inside))
    is_nested = any(set("[]{}()") & set(item) for item in items)
    # NumPy prints ['MI' 'AF'] without a comma, which Python reads as one text "MIAF"
    if not is_flat or is_nested or n_quoted > len(items):
        raise LabelError(f"The label {text!r} is no plain list. {_RULE}")
    return [item for item in items if item]


def _separate(part: str, alone: set[str], named: set[str]) -> list[str]:
    """Return the labels of a part that may contain other separators than ``|``."""
    if label_key(part) in named:
        return [part]
    pieces = [plain_text(piece) for piece in re.split("[;,]", part)]
    pieces = [piece for piece in pieces if piece]
    known = [piece for piece in pieces if label_key(piece) in alone]
    if len(known) == len(pieces) > 1:
        return pieces
    words = [word for word in re.split(r"[/+&\s]+", part) if word]
    are_labels = len(words) > 1 and all(label_key(word) in alone for word in words)
    if ";" in part or are_labels or (len(pieces) > 1 and known):
        raise LabelError(f"The label {part!r} may be several labels. {_RULE}")
    return [part]


def _spellings(
    parts_of: dict[str, list[str] | None], counts: Counter[str], classes: Sequence[str]
) -> dict[str, str]:
    """Return for each label as written its spelling: that of a class, else the most
    frequent one of those that are equal.
    """
    uses: Counter[str] = Counter()
    for cell, parts in parts_of.items():
        for part in parts or ():
            uses[part] += counts[cell]
    by_key = {label_key(name): name for name in reversed(classes)}
    for part in sorted(uses, key=lambda part: -uses[part]):  # of equal ones the first
        by_key.setdefault(label_key(part), without_decimals(part))
    return {part: part if part in classes else by_key[label_key(part)] for part in uses}


def _merged(spelling: dict[str, str]) -> list[str]:
    """Return the spellings of each class that has several, joined with ``=``."""
    written: dict[str, set[str]] = {}
    for part, name in spelling.items():
        written.setdefault(name, set()).add(part)
    return ["=".join(sorted(parts)) for parts in written.values() if len(parts) > 1]
