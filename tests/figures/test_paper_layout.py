"""Every lead is where the standard arrangement has it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from paper_checks import recording, traces

from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.paper_layout import lay_out, page_part


def test_twelve_leads_stand_in_three_rows_of_four_columns_above_lead_ii() -> None:
    order = tuple(reversed(STANDARD_12))  # the order of the file does not matter
    figure, table = plot_ecg(recording(order))
    grid = [
        ["I", "aVR", "V1", "V4"],
        ["II", "aVL", "V2", "V5"],
        ["III", "aVF", "V3", "V6"],
        ["II"],
    ]
    assert [group["lead"].tolist() for _, group in table.groupby("row")] == grid
    for _, row in table[table["row"] < 3].groupby("row"):
        assert row["start_s"].tolist() == [0, 2.5, 5, 7.5]
        assert_allclose(np.diff(row["x_mm"]), 2.5 * 25)
    assert table.iloc[-1][["start_s", "stop_s"]].tolist() == [0, 10]
    assert (np.diff(table.groupby("row")["y_mm"].first()) < 0).all(), (
        "rows go down the page"
    )
    assert {lead: len(lines) for lead, lines in traces(figure).items()} == {
        lead: 2 if lead == "II" else 1 for lead in STANDARD_12
    }


def test_further_leads_follow_below() -> None:
    _, table = plot_ecg(recording((*STANDARD_12, "Vx", "Vy")))
    assert table["lead"].tolist()[12:] == ["II", "Vx", "Vy"]
    assert table["row"].tolist()[12:] == [3, 4, 5]


@pytest.mark.parametrize("leads", [("ECG",), ("MLII", "V5"), STANDARD_12[:8]])
def test_other_leads_get_a_row_each(leads: tuple[str, ...]) -> None:
    _, table = plot_ecg(recording(leads, seconds=6))
    assert table["lead"].tolist() == list(leads)
    assert table["row"].tolist() == list(range(len(leads)))
    assert (table["stop_s"] == 6).all()


def test_columns_share_a_page_without_gap_or_overlap() -> None:
    each = recording(seconds=7.001, fs=333)
    strips = [strip for strip in lay_out(page_part(each, 0)) if strip.row == 0]
    assert sum(len(strip.millivolts) for strip in strips) == each.n_samples
    assert [a.stop for a in strips[:-1]] == [b.start for b in strips[1:]]


def test_short_recordings_stand_in_two_columns() -> None:
    """Up to five seconds each lead is whole: limb leads to the left, chest leads beside
    them, at the same times."""
    fs, seconds = 250.0, 4.0
    t = np.arange(int(fs * seconds)) / fs
    signal = np.stack([np.sin(2 * np.pi * (k + 1) * t) for k in range(12)]).astype(
        np.float32
    )
    figure, table = plot_ecg(Recording(signal, fs, STANDARD_12, "short"))
    assert table["lead"].tolist() == list(STANDARD_12) and table["row"].tolist() == [
        *range(6),
        *range(6),
    ]
    assert (table["start_s"] == 0).all() and (table["stop_s"] == seconds).all()
    left, right = table["x_mm"][:6], table["x_mm"][6:]
    assert left.nunique() == right.nunique() == 1 and right.iloc[0] - left.iloc[
        0
    ] == pytest.approx(25 * seconds)
    (v1,) = (line for line in figure.axes[0].lines if line.get_gid() == "lead V1")
    np.testing.assert_allclose(v1.get_xdata()[0], right.iloc[0])
    longer = np.zeros((12, int(fs * 5.2)), np.float32)
    assert plot_ecg(Recording(longer, fs, STANDARD_12, "longer"))[1]["row"].max() == 3
