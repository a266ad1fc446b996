"""Figure style: colour-blind safe palette, font sizes, empty figures, image files.

Figures are made without pyplot, so drawing requires no display, changes no backend and
leaves no figure open.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context

from ecgnb.core.files import atomic_write

P = ParamSpec("P")
R = TypeVar("R")

#: What a drawing function returns: the figure, and a table of what it shows.
Drawing = tuple[Figure, pd.DataFrame]

#: Seven colours that colour-blind readers can distinguish (after Okabe and Ito 2008,
#: "Color universal design"); their yellow is too pale for lines on white and replaced
#: by a violet, and black is kept for averages.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
#: Solid, dashed, dotted, dash-dotted: for classes beyond the seven colours.
LINE_STYLES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
)
INK, MUTED, FAINT = "#222222", "#6B6B6B", "#D9D9D9"
#: Smallest font size in points; anything less cannot be read on paper.
SMALL = 8

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "text.usetex": False,
    "text.parse_math": False,  # class names and record ids may contain dollar signs
    "svg.fonttype": "path",  # looks the same where the font is missing
    "svg.hashsalt": "ecgnb",  # the same figure gives the same file
}


def figure_style() -> AbstractContextManager[None]:
    """Return a context with matplotlib's defaults and `STYLE`, whatever the user's own
    settings are.
    """
    return context(["default", STYLE])


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in `figure_style`; other figures are not affected."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with figure_style():
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches, unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def panels(
    n: int, *, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure and the axes of ``n`` panels, filled row by row.

    Args:
        n: number of panels.
        columns: most panels side by side.
        width: inches of one panel.
        height: inches of one panel.
    """
    columns = max(1, min(n, columns))
    rows = -(-n // columns)  # rounded up
    figure = new_figure(width * columns, height * rows + 0.6)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[n:]:
        unused.set_axis_off()
    return figure, axes[:n]


def class_styles(classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each class; they depend on its position only.

    >>> class_styles(["NORM", "MI"])["MI"]["color"]
    '#D55E00'
    """
    styles = {}
    looks = itertools.cycle(itertools.product(LINE_STYLES, PALETTE))
    for name, (line_style, colour) in zip(classes, looks, strict=False):
        styles[name] = {"color": colour, "linestyle": line_style}
    return styles


def most_frequent(support: Any, limit: int) -> np.ndarray:
    """Return the positions of the ``limit`` largest values: in their own order if all
    fit, otherwise the largest first.

    >>> most_frequent([3, 9, 5], 2).tolist(), most_frequent([3, 9, 5], 3).tolist()
    ([1, 2], [0, 1, 2])
    """
    counts = np.asarray(support)
    if len(counts) <= limit:
        return np.arange(len(counts))
    return np.argsort(-counts, kind="stable")[:limit]


def classes_text(n_shown: int, n_classes: int) -> str:
    """Return the part of a title that counts the classes shown."""
    if n_shown == n_classes:
        return f"{n_classes} classes"
    return f"{n_shown} most frequent of {n_classes} classes"


def shorten(name: str, width: int = 28) -> str:
    """Return ``name`` in at most ``width`` characters, cut with an ellipsis.

    >>> shorten("left ventricular hypertrophy", 12)
    'left ventri…'
    """
    name = " ".join(str(name).split())
    return name if len(name) <= width else name[: width - 1] + "…"


def set_title(figure: Figure, title: str, note: str = "") -> None:
    """Set the title of a whole figure at its left edge, wrapped to its width, with a
    note below it.
    """
    # 6.4 points per letter of the title, 5.7 of the note, 72 points per inch.
    letters = max(20, int(figure.get_figwidth() * 72 / 6.4))
    lines = textwrap.wrap(title, letters) + textwrap.wrap(note, int(letters * 1.12))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10, linespacing=1.35)


def interval_text(confidence: float) -> str:
    """Return the name of an interval, such as ``95 % interval``."""
    return f"{100 * confidence:g} % interval"


def format_interval(value: float, low: float, high: float) -> str:
    """Return a number and its interval as text.

    >>> format_interval(0.91234, 0.88, 0.94)
    '0.912 (0.880-0.940)'
    """
    if not np.isfinite(value):
        return "not defined"
    if not np.isfinite([low, high]).all():
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f}-{high:.3f})"


def png_bytes(figure: Figure, dpi: int = 120) -> bytes:
    """Return the figure as a PNG image."""
    return _image_bytes(figure, "png", dpi)


def _image_bytes(figure: Figure, kind: str, dpi: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind, dpi=dpi, **options)
    return buffer.getvalue()


def save_figure(
    figure: Figure, folder: str | Path, name: str, dpi: int = 200
) -> list[Path]:
    """Write a figure as PNG and SVG, each atomically, with the time in their names.

    Args:
        figure: the figure.
        folder: created when it is missing.
        name: what the figure shows, such as ``roc``; characters that a file system may
            refuse become ``-``.
        dpi: resolution of the PNG.

    Returns:
        The two files, such as ``roc_20261121-153000.png`` and ``.svg``. When the last
        figure of that name is the same to the byte, its files are returned and nothing
        is written; another one of the same second gets a number.
    """
    folder = Path(folder)
    safe = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "figure"
    # Without the date, so that the same figure gives the same bytes.
    svg = _image_bytes(figure, "svg", dpi, metadata={"Date": None})
    # Laid out now; doing it again for each image would take most of the time.
    figure.set_layout_engine("none")
    for last in sorted(folder.glob(f"{safe}_*.svg"))[-1:]:
        if last.read_bytes() == svg and last.with_suffix(".png").is_file():
            return [last.with_suffix(".png"), last]
    stamped = f"{safe}_{datetime.now():%Y%m%d-%H%M%S}"
    stem, number = stamped, 1
    while list(folder.glob(f"{stem}.*")):
        number += 1
        stem = f"{stamped}-{number}"
    files = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    for file, content in zip(files, (png_bytes(figure, dpi), svg), strict=True):
        with atomic_write(file) as temporary:
            temporary.write_bytes(content)
    return files
