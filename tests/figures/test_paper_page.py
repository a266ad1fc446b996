"""The paper is true to size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from paper_checks import millimetres, recording, traces
from PIL import Image

from ecgnb.data.recording import Recording
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.style import save_figure


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
