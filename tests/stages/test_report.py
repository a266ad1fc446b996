"""The report contains the numbers of the run."""

from __future__ import annotations


def test_the_report_holds_the_numbers(finished_run) -> None:
    html = finished_run.path("report.html").read_text(encoding="utf-8")
    shown = f"{finished_run.metrics['headline']['macro_auroc']:.3f}"
    assert shown in html and finished_run.name in html
    assert html.count("<img") >= 9 and "http://" not in html.replace(
        "http://www.w3.org", ""
    )
