"""Bubbles stand on the samples they belong to, and the recipe for positive relevance is
that of its paper."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.figures.attributions import plot_attribution, positive_relevance
from ecgnb.figures.style import PALETTE, SMALL


def recording() -> Recording:
    t = np.arange(1000) / 100.0
    beat = np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2))
    return Recording(
        np.stack([(0.3 + 0.1 * k) * beat for k in range(12)]).astype(np.float32),
        100.0,
        STANDARD_12,
        "rec-1",
    )


def bubbles(figure: Figure, lead: str) -> list:
    return [
        each
        for each in figure.axes[0].collections
        if each.get_gid() == f"bubbles {lead}"
    ]


def test_positive_relevance_by_hand():
    given = np.array(
        [[[5.0, -10.0, 1.0], [1.01, 0.0, -2.0]], [[-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]]]
    )
    found = positive_relevance(given)
    assert_allclose(
        found, [[[1, 0, 0], [0.202, 0, 0]], np.zeros((2, 3))]
    )  # 1 / 5 is not above 0.2
    assert_allclose(positive_relevance(given, threshold=0.19)[0, 0], [1, 0, 0.2])
    assert given[0, 0, 1] == -10


def test_bubbles_stand_on_the_trace():
    each, values = recording(), np.zeros((12, 1000))
    values[STANDARD_12.index("V1"), 540] = (
        2.0  # 0.4 s after the beginning of its column
    )
    values[STANDARD_12.index("V2"), 600] = -4.0
    values[STANDARD_12.index("V3"), 600] = (
        0.8  # 20 % of the largest: not above the threshold
    )
    values[STANDARD_12.index("I"), 600] = 4.0  # lead I is drawn until 2.5 s only
    figure, table = plot_attribution(each, values)
    by_lead = table.iloc[:12].set_index("lead")
    assert by_lead[["positive", "negative"]].sum().tolist() == [1, 1]
    assert by_lead.loc["V1", "positive"] == 1 and by_lead.loc["V2", "negative"] == 1
    (v1,) = bubbles(figure, "V1")
    row = by_lead.loc["V1"]
    height = row["y_mm"] + 10 * (
        each.signal[STANDARD_12.index("V1"), 540] - row["offset_mv"]
    )
    assert_allclose(v1.get_offsets(), [[row["x_mm"] + 0.4 * 25, height]], rtol=1e-6)
    (v2,) = bubbles(figure, "V2")
    assert_allclose(v1.get_sizes() / v2.get_sizes(), [0.5])
    colours = [
        tuple(np.round(255 * each.get_facecolors()[0, :3]).astype(int))
        for each in (v1, v2)
    ]
    assert colours == [tuple(bytes.fromhex(PALETTE[k][1:])) for k in (1, 0)]
    values[STANDARD_12.index("V1"), 560] = 4.0
    values[STANDARD_12.index("V1"), 570] = -3.0
    (v1,) = bubbles(plot_attribution(each, values)[0], "V1")
    assert (np.diff(v1.get_sizes()) > 0).all(), "the largest on top"
    assert all(
        text.get_fontsize() >= SMALL for text in figure.axes[0].get_legend().get_texts()
    )


def test_the_legend_fits_the_page():
    lead_i = Recording(recording().signal[:1], 100.0, ("I",), "signal")
    figure, _ = plot_attribution(lead_i, np.ones((1, 1000)))
    extent = figure.axes[0].get_legend().get_window_extent(figure.canvas.get_renderer())
    notes = figure.axes[0].texts[-1].get_window_extent(figure.canvas.get_renderer())
    assert (
        notes.x1 < extent.x0
        and extent.x1 <= figure.bbox.x1
        and figure.bbox.y0 <= extent.y0
    )


def test_missing_samples_and_attributions_are_left_out():
    each, values = recording(), np.ones((12, 1000))
    each.signal[0, :100] = np.nan
    values[1, :50] = np.nan
    _, table = plot_attribution(each, values, threshold=0.5)
    assert table.loc[table["lead"] == "I", "positive"].item() == 150
    assert table.loc[table["lead"] == "II", "positive"].tolist() == [200, 950]


def test_attributions_over_time_are_shades():
    values = np.zeros(1000)
    values[250] = 3.0
    figure, table = plot_attribution(recording(), values, start=0.0)
    assert len(figure.axes[0].images) == len(table) and "positive" not in table
    at = table["lead"].tolist().index("aVR")
    assert np.asarray(figure.axes[0].images[at].get_array())[0, 0, 3] == pytest.approx(
        0.75
    )


def test_wrong_shapes_say_what_to_do():
    with pytest.raises(
        EcgnbError,
        match=r"\(1000, 12\), the signal \(12, 1000\). Turn it: attribution.T",
    ):
        plot_attribution(recording(), np.zeros((1000, 12)))
    with pytest.raises(EcgnbError, match=r"\(12, 999\), the signal \(12, 1000\).$"):
        plot_attribution(recording(), np.zeros((12, 999)))
