"""How every figure looks: palette, type sizes, empty figures to draw on, and files to
keep them in.

Figures are made without pyplot, so drawing needs no display, changes no back end and
leaves no figure open.
"""

from __future__ import annotations

import functools
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context

from ecgnb.core.files import atomic_write

P = ParamSpec("P")
R = TypeVar("R")

#: Seven colours that colour-blind readers can tell apart (after Okabe and Ito 2008,
#: "Color universal design"); their yellow is too pale for lines on white and replaced
#: by a violet, and black is kept for averages.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
LINE_STYLES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
)
INK, MUTED, FAINT = "#222222", "#6B6B6B", "#D9D9D9"
#: Smallest type in points; anything less cannot be read on paper.
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
    "text.parse_math": False,  # a class name or a record id may hold dollar signs
    "svg.fonttype": "path",  # looks the same where the font is missing
    "svg.hashsalt": "ecgnb",  # the same figure gives the same file
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function with the house's style, and leave matplotlib's settings as
    they were.
    """

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with house_style():
            return draw(*args, **kwargs)

    return in_style


def house_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib's defaults and `STYLE` hold, whatever the
    user's own settings are.
    """
    return context(["default", STYLE])


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches that pyplot does not know
    of.
    """
    figure = Figure(
        figsize=(width, height), dpi=100, layout="constrained" if constrained else None
    )
    FigureCanvasAgg(figure)
    return figure


def panels(
    n: int, *, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure and the axes of ``n`` panels, filled row by row.

    Args:
        n: number of panels.
        columns: most panels side by side.
        width: inches of one panel.
        height: inches of one panel.
        options: further arguments of ``Figure.subplots`` (``sharex``, ``sharey``).
    """
    columns = max(1, min(n, columns))
    rows = -(-n // columns)
    figure = new_figure(width * columns, height * rows + 0.6)
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for spare in axes[n:]:
        spare.set_axis_off()
    return figure, axes[:n]


def class_styles(classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each class; they depend on its place in
    ``classes`` only.

    >>> class_styles(["NORM", "MI"])["MI"]["color"]
    '#D55E00'
    """
    return {
        name: {
            "color": PALETTE[k % len(PALETTE)],
            "linestyle": LINE_STYLES[k // len(PALETTE) % len(LINE_STYLES)],
        }
        for k, name in enumerate(classes)
    }


def most_frequent(support: Sequence[int] | np.ndarray, limit: int) -> np.ndarray:
    """Return the places of the ``limit`` largest values: in their own order if all fit,
    else the largest first.

    >>> most_frequent([3, 9, 5], 2).tolist(), most_frequent([3, 9, 5], 3).tolist()
    ([1, 2], [0, 1, 2])
    """
    counts = np.asarray(support)
    return (
        np.arange(len(counts))
        if len(counts) <= limit
        else np.argsort(-counts, kind="stable")[:limit]
    )


def shown_of(n_shown: int, n_classes: int) -> str:
    """Return the words of a title that say which classes are shown."""
    return (
        f"{n_classes} classes"
        if n_shown == n_classes
        else f"{n_shown} most frequent of {n_classes} classes"
    )


def shorten(name: str, width: int = 28) -> str:
    """Return ``name`` in at most ``width`` characters, with an ellipsis for what is
    cut.

    >>> shorten("left ventricular hypertrophy", 12)
    'left ventri…'
    """
    name = " ".join(str(name).split())
    return name if len(name) <= width else name[: width - 1] + "…"


def set_title(figure: Figure, title: str, note: str = "") -> None:
    """Set the title of a whole figure at its left edge, wrapped to its width, with a
    note in plain type below it.
    """
    letters = max(20, int(figure.get_figwidth() * 72 / 6.4))
    text = "\n".join(
        [*textwrap.wrap(title, letters), *textwrap.wrap(note, int(letters * 1.12))]
    )
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, linespacing=1.35)


def interval_words(confidence: float) -> str:
    """Return the words for an interval, such as ``95 % bootstrap interval``."""
    return f"{100 * confidence:g} % bootstrap interval"


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Return a number and its interval as text; what is not defined becomes a dash.

    >>> with_interval(0.91234, 0.88, 0.94)
    '0.912 (0.880-0.940)'
    """
    if not np.isfinite(value):
        return "not defined"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def png_bytes(figure: Figure, dpi: int = 120) -> bytes:
    """Return the figure as a PNG image."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_figure(
    figure: Figure, folder: str | Path, name: str, dpi: int = 200
) -> list[Path]:
    """Write a figure as PNG and SVG, each whole or not at all, under a name that says
    when it was drawn.

    Args:
        figure: what to write.
        folder: made when it is missing.
        name: what it shows, such as ``roc``; characters that a file system may refuse
            become ``-``.
        dpi: resolution of the PNG.

    Returns:
        The two files, such as ``roc_20261121-153000.png`` and ``.svg``. When the last
        figure of that name is the same to the byte, its files are returned and nothing
        is written; another one of the same second gets a number.
    """
    folder = Path(folder)
    safe = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "figure"
    drawn = _svg_bytes(figure, dpi)
    for before in sorted(folder.glob(f"{safe}_*.svg"), reverse=True)[:1]:
        if before.read_bytes() == drawn and before.with_suffix(".png").is_file():
            return [before.with_suffix(".png"), before]
    stamped = f"{safe}_{datetime.now():%Y%m%d-%H%M%S}"
    stem, number = stamped, 1
    while any((folder / f"{stem}{ending}").exists() for ending in (".png", ".svg")):
        number += 1
        stem = f"{stamped}-{number}"
    files = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    for file, content in zip(files, (png_bytes(figure, dpi), drawn), strict=True):
        with atomic_write(file) as temporary:
            temporary.write_bytes(content)
    return files


def _svg_bytes(figure: Figure, dpi: int) -> bytes:
    """Return the figure as SVG without a date, so that the same figure gives the same
    bytes.
    """
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="svg", dpi=dpi, metadata={"Date": None})
    return buffer.getvalue()
