from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.core.parameters import check_choices, convert, field_help, field_types


@dataclass(frozen=True)
class Example:
    """An example.

    Attributes:
        crop: keep the middle or
            the beginning.
        callbacks: names of callbacks.

    Raises:
        ConfigError: a value is wrong.
    """

    crop: Literal["center", "start"] = "center"
    callbacks: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self)


def test_help_of_a_field_is_its_entry_in_the_docstring() -> None:
    assert field_help(Example) == {
        "crop": "keep the middle or the beginning",
        "callbacks": "names of callbacks",
    }
    assert list(field_types(Example)) == ["crop", "callbacks", "options"]


def test_a_choice_is_checked_where_the_object_is_made() -> None:
    with pytest.raises(
        ConfigError,
        match=r"CROP is 'centre'; choose one of 'center', 'start'. Did you mean 'center'",
    ):
        Example(crop="centre")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("true", bool, True),
        ("False", bool, False),
        ("12", int, 12),
        (12.0, int, 12),
        ("123456789012345678", int, 123456789012345678),
        ("1e-3", float, 0.001),
        (1, float, 1.0),
        ("NORM, AF", tuple[str, ...], ("NORM", "AF")),
        ("NORM|AF", list, ("NORM", "AF")),
        (["NORM", "AF"], tuple[str, ...], ("NORM", "AF")),
        ('["I", "II"]', tuple[str, ...], ("I", "II")),
        ('["a", {"name": "b"}]', tuple[Any, ...], ("a", {"name": "b"})),
        ('{"width": 8}', dict[str, Any], {"width": 8}),
        ("", dict, {}),
        ("one", Literal["one", "two"], "one"),
        (Path("data"), str, "data"),
    ],
)
def test_text_is_converted_as_the_type_requires(
    value: Any, hint: Any, expected: Any
) -> None:
    converted = convert("NAME", value, hint)
    assert converted == expected and type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (1, bool, "it needs True or False"),
        ("yes", bool, "it needs True or False"),
        ("three", int, r"NAME is 'three' \(str\); it needs a value of type int"),
        (2.5, int, "type int"),
        ("2.5", int, "type int"),
        (True, int, "type int"),
        (float("inf"), int, "type int"),
        ("fast", float, "type float"),
        ([1], float, "type float"),
        (float("nan"), float, "a finite number"),
        ("inf", float, "a finite number"),
        (3, str, "type str"),
        (5, tuple[str, ...], "it needs a list such as"),
        ([5], tuple[str, ...], "an item of NAME is 5"),
        ("[5", tuple[str, ...], "no valid JSON"),
        ("width=8", dict[str, Any], "no valid JSON"),
        ("[1]", dict[str, Any], "it needs a dictionary"),
        ("cosinus", Literal["cosine"], "Did you mean 'cosine'"),
    ],
)
def test_a_wrong_type_or_value_is_refused(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert("NAME", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (np.int64(3), int, 3),
        (np.array(3), int, 3),
        (np.float32(0.5), float, 0.5),
        (np.bool_(True), bool, True),
        (np.str_("start"), Literal["center", "start"], "start"),
        (np.array(["I", "II"]), tuple[str, ...], ("I", "II")),
        (pd.Index(["I", "II"]), tuple[str, ...], ("I", "II")),
        (torch.tensor([1, 2]), tuple[int, ...], (1, 2)),
        (range(2), tuple[int, ...], (0, 1)),
        ({"widths": np.array([8, 16])}, dict[str, Any], {"widths": [8, 16]}),
        ("I II", tuple[str, ...], ("I", "II")),
        ("sinus rhythm, AF", tuple[str, ...], ("sinus rhythm", "AF")),
        (["None", "AF"], tuple[str, ...], ("None", "AF")),
        ("'my data'", str, "my data"),
        (Path("data"), str, "data"),
    ],
)
def test_a_value_of_another_type_with_one_meaning_is_converted(
    value: Any, hint: Any, expected: Any
) -> None:
    result = convert("X", value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ({"I", "II"}, tuple[str, ...], "a set, which has no order; it needs a list"),
        (
            np.array([3, 4]),
            int,
            r"X is \[3, 4\] \(list\); it needs a value of type int",
        ),
        (np.float64(2.5), int, r"X is 2.5 \(float\); it needs a value of type int"),
        (np.nan, float, "X is nan; it needs a finite number"),
        (object(), str, r"X is <object .* needs a value of type str"),
    ],
)
def test_a_value_without_one_meaning_is_refused(
    value: Any, hint: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert("X", value, hint)
