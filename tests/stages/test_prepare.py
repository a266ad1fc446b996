from __future__ import annotations

import ecgnb


def test_the_table_counts_stored_and_rejected_recordings(finished_run) -> None:
    counts = ecgnb.prepare(finished_run).set_index("what")["recordings"]
    store = finished_run.store
    assert (counts["stored"], counts["rejected"]) == (80, 0)
    flags = [
        flag for text in store.records["flags"] for flag in text.split(";") if flag
    ]
    flagged = counts[counts.index.str.startswith("stored, flag")]
    assert flagged.sum() == len(flags)


def test_what_is_lost_is_printed_and_kept_in_the_report(finished_run, caplog) -> None:
    with caplog.at_level("INFO", logger="ecgnb"):
        counts = ecgnb.prepare(finished_run).set_index("what")["recordings"]
    assert counts["stored, downsampled"] == 80 and "stored, cropped" not in counts
    (line,) = finished_run.require("prepare")["losses"]
    assert "80 of 80 recordings have a higher rate (500 Hz" in line
    assert "at 100 Hz frequencies above 45 Hz are lost" in line
    assert line in caplog.text
    html = finished_run.path("report.html").read_text(encoding="utf-8")
    assert "at 100 Hz frequencies above 45 Hz are lost" in html
