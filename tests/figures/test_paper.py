"""The paper is true to size, every lead stands where the standard arrangement has it,
and nothing wrong is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from paper_checks import millimetres, recording, traces, words_of

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.figures.paper import plot_class_examples, plot_ecg
from ecgnb.figures.paper_layout import PagePart, page_part
from ecgnb.figures.style import SMALL


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


def test_real_recordings(data_dir: Path) -> None:
    from ecgnb.data.readers.reading import read_recording

    figure, table = plot_ecg(
        read_recording(next(iter(sorted(data_dir.glob("ptbdb/**/*.hea")))))
    )
    assert table["lead"].tolist()[-3:] == ["Vx", "Vy", "Vz"]
    assert "0.0 to 10.0 s of 38.4 s" in words_of(figure)
    assert not table["flat"].any()
