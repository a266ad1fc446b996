"""The report is one valid file with everything in it, and says what it was given and
nothing else."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ecgnb.figures import html_report as report_module
from ecgnb.figures.html_report import Section, write_report
from ecgnb.figures.plots import plot_label_coverage

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a page and fails on a tag that is not closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def figure():
    return plot_label_coverage(pd.DataFrame({"kind": ["mapped"], "records": [3]}))[0]


@pytest.fixture
def page(figure, tmp_path: Path) -> Page:
    records = pd.DataFrame(
        {
            "record_id": ["<script>alert(1)</script>", 'a"b&c'],
            "auroc": [0.91234, np.nan],
            "n": [3, 12000],
        }
    )
    sections = [
        Section(
            "Results & limits",
            "First <b>paragraph</b>.\n\nSecond\nline.",
            [("By record", records)],
            [("Drawn", figure)],
        ),
        Section(
            "Data",
            figures=[('Drawn "twice"', figure)],
            tables=[("Leaks", pd.DataFrame(columns=["kind", "parts"]))],
        ),
    ]
    path = write_report(
        tmp_path / "report.html",
        "Run <1>",
        {"Macro F1": 0.5, "Leaks": False},
        sections,
        "Made here.",
    )
    assert path == tmp_path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_nothing_is_taken_for_html(page: Page) -> None:
    assert not page.all("script") and not page.all("b")
    for words in (
        "<script>alert(1)</script>",
        'a"b&c',
        "First <b>paragraph</b>.",
        "Run <1>",
        "Results & limits",
    ):
        assert words in page.words


def test_numbers_are_the_tables(page: Page) -> None:
    cells = page.words[page.words.index("By record") :]
    assert cells[1:10] == [
        "record_id",
        "auroc",
        "n",
        "<script>alert(1)</script>",
        "0.912",
        "3",
        'a"b&c',
        report_module.MISSING,
        "12,000",
    ]
    assert "No rows." in page.words
    summary = page.words.index("Macro F1")
    assert page.words[summary : summary + 4] == ["Macro F1", "0.5", "Leaks", "no"]


def test_all_figures_are_inside_with_their_size_and_words(page: Page, figure) -> None:
    images = page.all("img")
    assert [image["alt"] for image in images] == ["Drawn", 'Drawn "twice"']
    for image in images:
        kind, data = str(image["src"]).split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as opened:
            assert opened.size == pytest.approx(
                figure.get_size_inches() * report_module.DPI, abs=1
            )
        # 96 CSS pixels an inch, whatever the resolution
        assert (int(image["width"]), int(image["height"])) == pytest.approx(
            figure.get_size_inches() * 96, abs=1
        )


def test_the_file_stands_alone_and_can_be_found_through(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data"):
            assert str(attributes.get(name) or "data:").startswith(("data:", "#")), (
                tag,
                attributes,
            )
    css = files("ecgnb.figures").joinpath("report.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", css)
    assert "prefers-color-scheme: dark" in css and "@media print" in css
    ids = {str(attributes["id"]) for _, attributes in page.tags if "id" in attributes}
    assert (
        {str(link["href"])[1:] for link in page.all("a")}
        == {"section-1", "section-2"}
        <= ids
    )


def test_people_who_do_not_see_it_can_read_it(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert "width=device-width" in str(page.all("meta")[1]["content"])
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert {heading.get("scope") for heading in page.all("th")} == {"col", "row"}
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("h1")) == 1
    scrolled = [each for each in page.all("div") if each.get("class") == "scroll"]
    assert all(
        each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"]
        for each in scrolled
    )


def test_a_long_table_says_what_it_leaves_out(tmp_path: Path) -> None:
    table = pd.DataFrame({"row": range(report_module.MAX_ROWS + 7)})
    path = write_report(
        tmp_path / "r.html", "t", {}, [Section("s", tables=[("c", table)])]
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("tr")) == 1 + report_module.MAX_ROWS
    assert f"The first 500 of {len(table)} rows." in page.words


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.5, 0.123456, None], ["0.500", "0.123", report_module.MISSING]),
        ([1.0, 1200.0, None], ["1", "1,200", report_module.MISSING]),
        ([1e-5, 0.25], ["1e-05", "0.25"]),
        ([0.0, 0.25], ["0.000", "0.250"]),
        ([12345.678, 0.5], ["12,346", "0.5"]),
        (pd.array([1, None], dtype="Int64"), ["1", report_module.MISSING]),
        ([True, False], ["yes", "no"]),
        ([["a", "b"], {"k": 1.5}, np.array([1, 2])], ["a, b", "k: 1.5", "1, 2"]),
        ([np.inf, np.nan], ["inf", report_module.MISSING]),
        (pd.array(["a", None], dtype="string"), ["a", report_module.MISSING]),
    ],
)
def test_values_as_text(column, expected: list[str]) -> None:
    assert report_module.format_column(pd.Series(column)) == expected


def test_a_figure_that_cannot_be_drawn_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(tmp_path / "r.html", "old", {}, [])
    broken = Figure()
    monkeypatch.setattr(broken, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(path, "new", {}, [Section("s", figures=[("c", broken)])])
    assert "<title>old</title>" in path.read_text(encoding="utf-8")
