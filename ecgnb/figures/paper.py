"""The electrocardiogram on standard paper: 25 mm a second, 10 mm a millivolt, true to
size when printed at 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.figures.paper_layout import (
    MM_PER_MV,
    MM_PER_S,
    PAGE_S,
    RHYTHM_LEAD,
    Strip,
    lay_out,
    page_samples,
    whole_lead,
)
from ecgnb.figures.paper_page import FOOTER_MM, MARGIN_MM, Page
from ecgnb.figures.style import INK, MUTED, PALETTE, SMALL, shorten, styled

#: Classes whose probabilities stand in the header.
_MAX_PROBABILITIES = 5


@styled
def plot_ecg(
    recording: Recording,
    *,
    probabilities: Mapping[str, float] | None = None,
    predicted: str | None = None,
    truth: str | None = None,
    start: float = 0.0,
    overlay: np.ndarray | None = None,
    shaded: str = "what the prediction rests on",
) -> tuple[Figure, pd.DataFrame]:
    """Draw a recording on standard paper, with what the model says about it.

    The twelve standard leads stand in three rows of four columns above a long lead II,
    or, up to five seconds, whole in six rows of two columns; other sets of leads get a
    row each. A page holds ten seconds. Each lead is drawn about its median, so that an
    offset does not push it off its row.

    Args:
        recording: in mV; NaN is drawn as a gap on grey ground.
        probabilities: class name to probability; the highest are drawn in the header.
        predicted: the classes called, joined with ``|``; ``""`` for none of them, ``None`` for unknown.
        truth: the true classes, likewise.
        start: second at which the page begins.
        overlay: what the model looked at, ``[n_samples]`` or ``[n_leads, n_samples]``
            like the signal; drawn as shades of its absolute value, the largest on the
            page darkest.
        shaded: what these shades mean, for the note below.

    Returns:
        The figure, and a row a strip: ``lead, row, start_s, stop_s, x_mm, y_mm`` (left
        end of its middle line from the lower left corner), ``offset_mv, min_mv, max_mv,
        missing`` (share), ``flat``, ``cut`` (reaches beyond its room and is cut off
        there).

    Raises:
        EcgnbError: the recording is empty, or the overlay has another shape.
    """
    if 0 in recording.signal.shape:
        raise EcgnbError(
            f"Recording {recording.record_id} has shape {recording.signal.shape}: there is nothing to draw."
        )
    first, stop = page_samples(recording, start)
    strips = lay_out(recording, first, stop)
    lines = _header_lines(recording, predicted, truth)
    probabilities = probabilities or {}
    n_bars = min(len(probabilities), _MAX_PROBABILITIES) + (
        len(probabilities) > _MAX_PROBABILITIES
    )
    page = Page(strips, header_mm=5.0 + max(5.8 * (1 + len(lines)), 4.7 * n_bars))
    if overlay is not None:
        _shade_all(page, recording, strips, overlay)
    for row in range(len(page.middles)):
        page.draw_pulse(row)
    for strip in strips:
        page.draw_strip(strip, strip.lead)
        if strip.start + strip.shift > page.start:
            page.draw_border(strip)
    _write_header(page, recording, lines)
    _write_probabilities(page, probabilities, set((predicted or "").split("|")))
    table = page.table(strips)
    notes = [
        f"{recording.fs:g} Hz",
        _seconds_words(recording, first, stop),
        "each lead about its median",
    ]
    notes += [] if overlay is None else [f"shaded: {shaded}"]
    notes += ["grey: no signal"] if table["missing"].any() else []
    notes += (
        [f"cut off: {', '.join(dict.fromkeys(table['lead'][table['cut']]))}"]
        if table["cut"].any()
        else []
    )
    _write_notes(
        page, notes + [f"flags: {', '.join(recording.flags)}"] * bool(recording.flags)
    )
    return page.figure, table


def _shade_all(
    page: Page, recording: Recording, strips: Sequence[Strip], overlay: np.ndarray
) -> None:
    values = np.abs(np.asarray(overlay, dtype=np.float64))
    if values.shape not in (recording.signal.shape, recording.signal.shape[1:]):
        raise EcgnbError(
            f"The overlay has shape {values.shape}, the signal {recording.signal.shape}. Give one value a sample, or "
            "one a lead and sample."
        )
    values = np.broadcast_to(values, recording.signal.shape)
    shown = [
        values[
            recording.leads.index(strip.lead),
            round(strip.start * recording.fs) : round(strip.stop * recording.fs),
        ]
        for strip in strips
    ]
    largest = (
        max((float(np.nanmax(part, initial=0.0)) for part in shown), default=0.0) or 1.0
    )
    for strip, part in zip(strips, shown, strict=True):
        page.shade(strip, part / largest)


def _header_lines(
    recording: Recording, predicted: str | None, truth: str | None
) -> list[tuple[str, str]]:
    """Return the lines below the name, each with its colour."""
    lines = [(_patient_words(recording), INK)]
    if truth is not None:
        lines.append((f"Label: {shorten(_class_words(truth), 56)}", INK))
    if predicted is not None:
        same = truth is None or set(predicted.split("|")) == set(truth.split("|"))
        verdict = "" if truth is None else " (agrees)" if same else " (differs)"
        lines.append(
            (
                f"Prediction: {shorten(_class_words(predicted), 44)}{verdict}",
                INK if same else PALETTE[1],
            )
        )
    return lines


def _write_header(
    page: Page, recording: Recording, lines: Sequence[tuple[str, str]]
) -> None:
    top = page.height - 5.5
    name = " ".join(part for part in (recording.dataset, recording.record_id) if part)
    page.ax.text(
        MARGIN_MM, top, shorten(name, 40), fontsize=12, fontweight="bold", va="center"
    )
    for k, (line, colour) in enumerate(lines, start=1):
        page.ax.text(
            MARGIN_MM,
            top - 5.6 * k,
            shorten(line, 66),
            fontsize=9,
            va="center",
            color=colour,
        )


def _patient_words(recording: Recording) -> str:
    about = recording.metadata
    age, sex = about.get("age"), about.get("sex")
    words = [
        f"{float(age):g} years"
        if isinstance(age, int | float) and np.isfinite(age)
        else "age unknown",
        str(sex) if sex else "sex unknown",
    ]
    return ", ".join(
        words + ([f"patient {recording.patient_id}"] if recording.patient_id else [])
    )


def _class_words(joined: str) -> str:
    return (
        ", ".join(name for name in joined.split("|") if name) or "none of the classes"
    )


def _write_probabilities(
    page: Page, probabilities: Mapping[str, float], called: set[str]
) -> None:
    """Draw the highest probabilities as bars in the right half of the header."""
    highest = sorted(probabilities.items(), key=lambda item: -item[1])[
        :_MAX_PROBABILITIES
    ]
    left, bar, right = (
        page.width / 2 + 2,
        page.width / 2 + 52,
        page.width - MARGIN_MM - 14,
    )
    for k, (name, value) in enumerate(highest):
        y = page.height - 5.5 - 4.7 * k
        weight = "bold" if name in called else "normal"
        page.ax.text(
            bar - 2,
            y,
            shorten(name, 26),
            ha="right",
            va="center",
            fontsize=SMALL,
            fontweight=weight,
        )
        page.ax.add_patch(
            Rectangle((bar, y - 1.4), right - bar, 2.8, facecolor="#EFEFEF")
        )
        colour = PALETTE[0] if name in called else "#A9BFD0"
        page.ax.add_patch(
            Rectangle(
                (bar, y - 1.4), (right - bar) * float(value), 2.8, facecolor=colour
            )
        )
        page.ax.text(
            right + 13,
            y,
            f"{100 * value:.1f} %",
            ha="right",
            va="center",
            fontsize=SMALL,
            fontweight=weight,
        )
    if len(probabilities) > len(highest):
        words = f"the {len(highest)} highest of {len(probabilities)} probabilities; bold: called"
        page.ax.text(
            left,
            page.height - 5.5 - 4.7 * len(highest),
            words,
            va="center",
            fontsize=SMALL,
            color=MUTED,
        )


def _seconds_words(recording: Recording, first: int, stop: int) -> str:
    whole = first == 0 and stop == recording.n_samples
    part = f"{first / recording.fs:.1f} to {stop / recording.fs:.1f} s of "
    return f"{'' if whole else part}{recording.duration:.1f} s"


def _write_notes(page: Page, notes: Sequence[str]) -> None:
    notes = [f"{MM_PER_S:g} mm/s", f"{MM_PER_MV:g} mm/mV", *notes]
    words = shorten(" | ".join(notes), int(page.width / 1.5))
    page.ax.text(
        MARGIN_MM, FOOTER_MM / 2, words, va="center", fontsize=SMALL, color=MUTED
    )


@styled
def plot_class_examples(
    examples: Mapping[str, Recording], *, lead: str = RHYTHM_LEAD, limit: int = 12
) -> tuple[Figure, pd.DataFrame]:
    """Draw one strip of one recording for each class, below each other on standard
    paper.

    Args:
        examples: class name to a recording of that class.
        lead: the lead drawn; the first one of recordings that do not have it.
        limit: most classes drawn; the first ones are taken.

    Returns:
        The figure, and the table of `plot_ecg` with ``class`` and ``record_id`` first.

    Raises:
        EcgnbError: there is no recording.
    """
    shown = {
        name: each
        for name, each in list(examples.items())[:limit]
        if 0 not in each.signal.shape
    }
    if not shown:
        raise EcgnbError(
            "There is no recording to show: give at least one class with a recording that has samples."
        )
    strips = [whole_lead(each, lead, row) for row, each in enumerate(shown.values())]
    page = Page(strips, header_mm=10.0)
    for (name, each), strip in zip(shown.items(), strips, strict=True):
        page.draw_pulse(strip.row)
        page.draw_strip(
            strip, f"{shorten(name, 40)}  ({strip.lead}, {shorten(each.record_id, 24)})"
        )
    title = f"One recording of each class, {len(shown)} of {len(examples)} classes"
    page.ax.text(MARGIN_MM, page.height - 5, title, fontsize=10, va="center")
    _write_notes(
        page, [f"the first {PAGE_S:g} s at most", "each lead about its median"]
    )
    table = page.table(strips)
    table.insert(0, "class", list(shown))
    table.insert(1, "record_id", [each.record_id for each in shown.values()])
    return page.figure, table
