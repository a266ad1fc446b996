from __future__ import annotations

import pandas as pd

from ecgnb.core.console import filled, printable, text_facts, text_table


def table() -> pd.DataFrame:
    rows = [
        ("conv1d", "64 filters, kernel 3, stride 1, same", 0.5, ""),
        ("x" * 30, "none", None, ""),
    ]
    return pd.DataFrame(rows, columns=["layer", "options", "value", "empty"])


def test_console_table_without_a_width_has_a_line_a_row() -> None:
    lines = text_table(table()).splitlines()
    assert len(lines) == 3 and "empty" not in lines[0]
    assert lines[1].split()[-1] == "0.500"


def test_console_table_breaks_between_words_before_it_breaks_words() -> None:
    lines = text_table(table(), 55).splitlines()
    assert max(map(len, lines)) <= 55
    assert any(line.startswith("x" * 30) for line in lines)
    assert max(map(len, text_table(table(), 30).splitlines())) <= 30


def test_console_table_of_nothing() -> None:
    assert text_table(pd.DataFrame(columns=["a", "b"]), 20) == ""


def test_console_text_cannot_command_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07\nb\u202e") == "a?]0;title? b?"
    assert "\x1b" not in text_table(pd.DataFrame({"a": ["\x1b[2J"]}))
    assert filled("one two three\nfour", 7) == "one two\nthree\nfour"


def test_console_facts_stand_one_under_the_other() -> None:
    assert text_facts(
        {"a": "one two three four five", "long": "x\ny"}, 26
    ).splitlines() == [
        "a     one two three four",
        "      five",
        "long  x",
        "      y",
    ]
