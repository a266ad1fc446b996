"""The paper is true to size, every lead stands where the standard arrangement has it,
and nothing wrong is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.testing import assert_allclose
from PIL import Image

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.figures.paper import plot_class_examples, plot_ecg
from ecgnb.figures.paper_layout import PagePart, lay_out, page_part
from ecgnb.figures.style import SMALL, save_figure


def recording(
    leads: tuple[str, ...] = STANDARD_12, seconds: float = 10.0, fs: float = 500.0
) -> Recording:
    t = np.arange(round(seconds * fs)) / fs
    beat = np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) - 0.1
    signal = np.stack(
        [(0.3 + 0.1 * k) * beat + 0.01 * k for k in range(len(leads))]
    ).astype(np.float32)
    return Recording(
        signal, fs, leads, "rec-1", "demo", metadata={"age": 61.0, "sex": "female"}
    )


def traces(figure: Figure) -> dict[str, list[Line2D]]:
    found: dict[str, list[Line2D]] = {}
    for line in figure.axes[0].get_lines():
        if str(line.get_gid()).startswith("lead "):
            found.setdefault(str(line.get_gid())[5:], []).append(line)
    return found


def millimetres(figure: Figure, points: np.ndarray) -> np.ndarray:
    """Where data points lie on the page, from the figure's own transforms and
    resolution."""
    return figure.axes[0].transData.transform(points) / figure.dpi * 25.4


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


@pytest.mark.parametrize("fs", [100.0, 360.0, 1000.0])
def test_a_second_is_25_mm_and_a_millivolt_10_mm(fs: float) -> None:
    signal = np.zeros((1, round(4 * fs)), dtype=np.float32)
    signal[0, round(fs)] = 1.0
    signal[0, round(3 * fs)] = -1.0
    figure, table = plot_ecg(Recording(signal, fs, ("I",), "spikes"))
    (line,) = traces(figure)["I"]
    drawn = millimetres(figure, line.get_xydata())
    up, down = drawn[round(fs)], drawn[round(3 * fs)]
    assert_allclose(down[0] - up[0], 2 * 25.0, atol=1e-9)
    assert_allclose(up[1] - drawn[0][1], 10.0, atol=1e-9)
    assert_allclose(down[1] - drawn[0][1], -10.0, atol=1e-9)
    assert_allclose(drawn[0], table.loc[0, ["x_mm", "y_mm"]].to_numpy(float), atol=1e-9)


def test_squares_are_1_and_5_mm_and_traces_begin_on_a_line() -> None:
    figure, table = plot_ecg(recording())
    fine, coarse = figure.axes[0].collections[:2]
    for grid, step in ((fine, 1.0), (coarse, 5.0)):
        ends = np.array([millimetres(figure, each) for each in grid.get_segments()])
        upright = np.sort(ends[np.isclose(ends[:, 0, 0], ends[:, 1, 0])][:, 0, 0])
        level = np.sort(ends[np.isclose(ends[:, 0, 1], ends[:, 1, 1])][:, 0, 1])
        assert_allclose(np.diff(upright), step, atol=1e-9)
        assert_allclose(np.diff(level), step, atol=1e-9)
    for y in table["y_mm"]:
        assert np.abs(level - y).min() < 1e-9
    assert np.abs(upright - table["x_mm"].min()).min() < 1e-9


def test_the_calibration_pulse_is_1_mv_for_a_fifth_of_a_second() -> None:
    figure, table = plot_ecg(recording())
    pulses = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 6]
    assert len(pulses) == table["row"].nunique()
    points = millimetres(figure, pulses[0].get_xydata())
    assert_allclose(np.ptp(points[:, 1]), 10.0, atol=1e-9)
    assert_allclose(points[3, 0] - points[2, 0], 0.2 * 25, atol=1e-9)


def test_the_file_has_the_size_of_the_page(tmp_path: Path) -> None:
    figure, _ = plot_ecg(recording())
    png, _ = save_figure(figure, tmp_path, "ecg", dpi=127)
    with Image.open(png) as image:
        assert image.size == pytest.approx(
            figure.get_size_inches() * 127, abs=1
        )  # 127 dpi: five pixels a millimetre
    assert figure.get_figwidth() * 25.4 < 297, "a page of ten seconds fits A4"


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


def test_the_trace_of_a_lead_is_that_leads_signal() -> None:
    each = recording()
    figure, table = plot_ecg(each)
    (line,) = traces(figure)["V4"]
    row = table[table["lead"] == "V4"].iloc[0]
    part = each.signal[STANDARD_12.index("V4"), 3750:5000].astype(float)
    drawn = millimetres(figure, line.get_xydata())[:, 1]
    assert_allclose((drawn - row["y_mm"]) / 10 + row["offset_mv"], part, atol=1e-9)
    assert row["offset_mv"] == pytest.approx(
        np.median(each.signal[STANDARD_12.index("V4")])
    )


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


def test_a_page_holds_ten_seconds_and_says_which() -> None:
    long = recording(("ECG",), seconds=30, fs=300)
    figure, table = plot_ecg(long, start=12)
    assert table.loc[0, ["start_s", "stop_s"]].tolist() == [12, 22]
    assert "12.0 to 22.0 s of 30.0 s" in words_of(figure)
    (line,) = traces(figure)["ECG"]
    assert len(line.get_xdata()) == 3000
    assert page_part(long, 25) == PagePart(long, 7500, 9000)
    for start in (30, -1):
        with pytest.raises(EcgnbError, match="no page can begin"):
            plot_ecg(long, start=start)


def test_gaps_flat_leads_and_missing_leads_are_marked() -> None:
    each = recording()
    each.signal[0, 100:600] = np.nan
    each.signal[4] = np.nan
    each.signal[2] = 0.0
    figure, table = plot_ecg(each)
    by_lead = table.drop_duplicates("lead").set_index("lead")
    assert by_lead.loc["I", "missing"] == pytest.approx(500 / 1250)
    assert by_lead.loc["aVL", "missing"] == 1
    assert by_lead["flat"][by_lead["flat"]].index.tolist() == ["III"]
    assert {"aVL, no signal", "III, flat"} <= {
        text.get_text() for text in figure.axes[0].texts
    }
    assert "grey: no signal" in words_of(figure)
    grey = [patch for patch in figure.axes[0].patches if patch.get_alpha() == 0.18]
    widths = sorted(patch.get_width() for patch in grey)
    assert_allclose(
        widths, [25.0, 62.5]
    )  # 500 samples of lead I are a second; aVL lacks its whole column


def test_an_offset_and_an_absurd_amplitude_leave_the_page_readable() -> None:
    each = recording()
    _, table = plot_ecg(each)
    each.signal[:] += 40.0
    figure, moved = plot_ecg(each)
    assert_allclose(moved["y_mm"], table["y_mm"])
    assert not moved["cut"].any()
    each.signal[:] *= 1000
    figure, table = plot_ecg(each)
    assert table["cut"].all() and "cut off: I, aVR" in words_of(figure)
    assert figure.get_figheight() * 25.4 < 350


def test_the_header_tells_patient_label_prediction_and_probabilities() -> None:
    probabilities = {
        "NORM": 0.1,
        "AFIB": 0.875,
        "x$_1$": 0.3,
        "a": 0.2,
        "b": 0.15,
        "c": 0.05,
    }
    figure, _ = plot_ecg(
        recording(), probabilities=probabilities, predicted="AFIB", truth="AFIB|x$_1$"
    )
    words = words_of(figure)
    for part in (
        "demo rec-1",
        "61 years, female",
        "Label: AFIB, x$_1$",
        "Prediction: AFIB (differs)",
        "87.5 %",
    ):
        assert part in words
    assert "the 5 highest of 6 probabilities" in words and "\nc\n" not in words
    agreed, _ = plot_ecg(recording(), predicted="", truth="")
    assert "Prediction: none of the classes (agrees)" in words_of(agreed)
    for text in figure.axes[0].texts:
        assert text.get_fontsize() >= SMALL
        extent = text.get_window_extent(figure.canvas.get_renderer())
        assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1, text


def test_the_overlay_shades_the_time_it_belongs_to() -> None:
    each = recording()
    overlay = np.zeros(each.signal.shape)
    overlay[
        STANDARD_12.index("V1"), 2500 + 250
    ] = -4.0  # 0.5 s after the beginning of its column
    overlay[STANDARD_12.index("V2"), 2500] = 1.0
    figure, table = plot_ecg(each, overlay=overlay)
    images = [np.asarray(image.get_array())[0, :, 3] for image in figure.axes[0].images]
    assert len(images) == len(table)
    at = {lead: images[k] for k, lead in reversed(list(enumerate(table["lead"])))}
    assert at["V1"].argmax() == 250 and at["V1"].max() == pytest.approx(0.75)
    assert at["V2"].max() == pytest.approx(0.75 / 4)
    assert at["I"].max() == 0
    left = figure.axes[0].images[table["lead"].tolist().index("V1")].get_extent()[0]
    assert left == pytest.approx(table.set_index("lead").loc["V1", "x_mm"])
    assert figure.axes[0].get_xlim() == pytest.approx((0, figure.get_figwidth() * 25.4))
    with pytest.raises(EcgnbError, match="overlay has shape"):
        plot_ecg(each, overlay=np.zeros(7))


def test_examples_of_classes() -> None:
    shown = {
        "NORM": recording(),
        "AFIB": recording(("ECG",), fs=300),
        "PVC": recording(seconds=3),
    }
    figure, table = plot_class_examples(shown)
    assert table["class"].tolist() == list(shown)
    assert table["lead"].tolist() == ["II", "ECG", "II"]
    assert table["stop_s"].tolist() == [10, 10, 3]
    assert "3 of 3 classes" in words_of(figure)
    figure, table = plot_class_examples(
        {str(k): recording() for k in range(30)}, limit=4
    )
    assert len(table) == 4 and "4 of 30 classes" in words_of(figure)
    with pytest.raises(EcgnbError, match="no recording"):
        plot_class_examples({})


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(EcgnbError, match="nothing to draw"):
        plot_ecg(Recording(np.zeros((12, 0), np.float32), 500.0, STANDARD_12, "empty"))


def test_columns_share_a_page_without_gap_or_overlap() -> None:
    each = recording(seconds=7.001, fs=333)
    strips = [strip for strip in lay_out(page_part(each, 0)) if strip.row == 0]
    assert sum(len(strip.millivolts) for strip in strips) == each.n_samples
    assert [a.stop for a in strips[:-1]] == [b.start for b in strips[1:]]


def test_real_recordings(data_dir: Path) -> None:
    from ecgnb.data.readers.reading import read_recording

    figure, table = plot_ecg(
        read_recording(next(iter(sorted(data_dir.glob("ptbdb/**/*.hea")))))
    )
    assert table["lead"].tolist()[-3:] == ["Vx", "Vy", "Vz"]
    assert "0.0 to 10.0 s of 38.4 s" in words_of(figure)
    assert not table["flat"].any()


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
