"""Predictions to draw, and what a figure shows."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgnb.evaluation.calibration import probabilities_from_logits
from ecgnb.figures import style

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


ONE_BY_ONE = np.array([0.2, 0.4, 0.7])


def multiclass(n: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, classes, n)
    logits = 2 * np.eye(classes)[targets] + rng.normal(size=(n, classes))
    return targets, logits


def multilabel(n: int = 300, classes: int = 71) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    targets = (rng.random((n, classes)) < np.linspace(0.4, 0.01, classes)).astype(int)
    targets[:, -1] = 0
    return targets, probabilities_from_logits(
        2 * targets - 2 + rng.normal(size=(n, classes)), "multilabel"
    )


def line(ax: Axes, label: str) -> np.ndarray:
    """Points of the line whose legend begins with ``label``."""
    (found,) = [
        each for each in ax.get_lines() if str(each.get_label()).startswith(label)
    ]
    return np.asarray(found.get_xydata())


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def assert_readable(figure: Figure) -> None:
    """No type under eight points, and nothing outside the figure."""
    figure.canvas.draw()
    assert all(
        text.get_fontsize() >= style.SMALL
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text()
    )
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert page.x0 - 0.02 <= drawn.x0 and drawn.x1 <= page.x1 + 0.02, (drawn, page)
    assert page.y0 - 0.02 <= drawn.y0 and drawn.y1 <= page.y1 + 0.02, (drawn, page)


def history(epochs: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        rng.random((epochs, 4)),
        columns=["train_loss", "valid_loss", "macro_f1", "macro_auroc"],
    )
    return table.assign(
        epoch=np.arange(1, epochs + 1), lr=np.linspace(1e-3, 1e-4, epochs), seconds=1.0
    )
