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
