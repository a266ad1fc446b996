"""Cells of labels: separators, lists, empty sets, missing words, spellings."""

from __future__ import annotations

import pytest

from ecgnb.core.errors import LabelError
from ecgnb.data.labels.label_cells import read_labels


def labels(*cells, classes=()):
    return read_labels(cells, classes).labels


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("MI|AF", "MI|AF"),
        ("MI;AF", "MI|AF"),
        ("MI, AF", "MI|AF"),
        ("AF|", "AF"),
        ("AF|AF", "AF"),
        ("['MI', 'AF']", "MI|AF"),
        ('["MI","AF"]', "MI|AF"),
        ("('MI', 'AF')", "MI|AF"),
        ("('MI')", "MI"),
        ("[MI, AF]", "MI|AF"),
        ("{'AF'}", "AF"),
        ("[1, 0]", "1|0"),
        ("[]", "[]"),
        ("()", "[]"),
        ("|", "[]"),
        ("MI|nan", "MI"),
        ("nan|NA", ""),
        ("1.0", "1"),
        ("left  bundle", "left bundle"),
    ],
)
def test_a_cell(cell, label):
    assert labels(cell) == [label]


@pytest.mark.parametrize(
    "word", ["", " ", "NA", "nan", "NaN", "None", "<NA>", "null", "N/A", "#N/A"]
)
def test_words_for_a_missing_label(word):
    assert labels(word, "AF") == ["", "AF"]
    assert (
        labels(word or "x", "AF", classes=(word or "x", "AF"))
        == [word.strip() or "x", "AF"]
        or word.strip() == ""
    )


@pytest.mark.parametrize(
    "cell",
    [
        "MI;VT",  # one of them is no label elsewhere
        "VT;LBBB",  # nobody writes a semicolon in a name
        "MI,VT",
        "MI/AF",
        "MI + AF",
        "MI AF",
        "['MI' 'AF']",  # as NumPy prints it; Python joins these texts
        "{'NORM': 100.0}",
        "[['MI'], 'AF']",
    ],
)
def test_what_may_be_several_labels_is_refused_with_the_rule(cell):
    with pytest.raises(LabelError, match=r"'\|' \(MI\|AF\).*LABEL_ORDER"):
        labels(cell, "AF")


def test_a_separator_splits_where_all_parts_are_labels_of_the_file():
    assert labels("VT;LBBB", "VT", "LBBB") == ["VT|LBBB", "VT", "LBBB"]
    assert labels("1,2", "1", "2") == ["1|2", "1", "2"]


def test_a_comma_may_belong_to_a_label_and_is_named():
    column = read_labels(["Block, left", "NORM", "Block, right"])
    assert column.labels == ["Block, left", "NORM", "Block, right"]
    assert column.with_comma == ["Block, left", "Block, right"]


def test_a_text_that_the_classes_name_is_one_label():
    for name in ("MI;AF", "MI/AF", "MI, AF"):
        assert labels(name, "AF", classes=(name, "AF")) == [name, "AF"]


def test_equal_spellings_are_one_class_in_the_most_frequent_one():
    column = read_labels(["True", "TRUE", "False", "true", "True", "FALSE", "False"])
    assert column.labels == ["True", "True", "False", "True", "True", "False", "False"]
    assert column.merged == ["TRUE=True=true", "FALSE=False"]
    assert labels("yes", "Yes ", "no") == ["yes", "yes", "no"]  # the first of two


def test_classes_that_differ_in_case_are_kept_apart_by_naming_both():
    assert labels("A", "a", "A") == ["A", "A", "A"]
    assert labels("A", "a", "A", classes=("a", "A")) == ["A", "a", "A"]


def test_missing_words_are_counted():
    column = read_labels(["nan", "NA", "nan", "", "AF"])
    assert column.missing_words == {"nan": 2, "NA": 1}
