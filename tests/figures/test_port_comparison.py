"""The plot of a port shows the differences of the table and marks what diverges."""

import numpy as np
import pandas as pd
from figure_checks import line, words_of

from ecgnb.figures.port_comparison import SMALLEST, plot_comparison
from ecgnb.figures.style import PALETTE


def test_points_are_the_differences_and_infinite_ones_are_drawn_beyond() -> None:
    table = pd.DataFrame(
        {
            "layer": ["conv", "norm", "dense", "gradient"],
            "class": ["Conv1D", "BatchNormalization", "Dense", "input gradient"],
            "relative": [1e-7, 0.0, np.inf, 1e-3],
            "port_vs_float64": [1e-8, 1e-7, 2e-3, np.nan],
            "reference_vs_float64": [1e-7, 1e-7, 1e-7, 1e-6],
            "verdict": ["agrees", "agrees", "DIVERGES", "agrees"],
        }
    )
    figure = plot_comparison(table, rtol=1e-5, gradient_rtol=1e-4)
    (ax,) = figure.axes
    drawn = line(ax, "port vs reference")
    np.testing.assert_allclose(drawn[:, 0], [1e-7, SMALLEST, 10 * 2e-3, 1e-3])
    assert drawn[:, 1].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(line(ax, "tolerance")[:, 0], [1e-5] * 3 + [1e-4] * 2)
    assert line(ax, "diverges").tolist() == [[10 * 2e-3, 2]]
    assert [tick.get_color() == PALETTE[1] for tick in ax.get_yticklabels()] == [
        False,
        False,
        True,
        False,
    ]
    assert "1 of 4 diverge, first dense" in words_of(figure)
