"""ECG on standard paper: 25 mm/s, 10 mm/mV, true to size when printed at 100 %."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Rectangle

from ecgnb.core.errors import EcgnbError
from ecgnb.data.recording import Recording
from ecgnb.figures import FIGURES
from ecgnb.figures.paper_layout import (
    PAGE_S,
    RHYTHM_LEAD,
    PagePart,
    Strip,
    lay_out,
    page_part,
)
from ecgnb.figures.paper_page import MARGIN_MM, Page
from ecgnb.figures.style import INK, MUTED, PALETTE, Drawing, shorten, styled

#: Classes whose probabilities are in the header.
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
) -> Drawing:
    """Draw a recording on standard paper, with the model's prediction in the header.

    The twelve standard leads are in three rows of four columns above a long lead II,
    or, up to five seconds, whole in six rows of two columns; other sets of leads get
    one row per lead. A page shows ten seconds. Each lead is drawn about its median, so
    that an offset does not push it off its row.

    Args:
        recording: in mV; NaN is drawn as a gap on grey background.
        probabilities: class name to probability; the highest are drawn in the header.
        predicted: the classes called, joined with ``|``; ``""`` for none of them,
            ``None`` for unknown.
        truth: the true classes, likewise.
        start: second at which the page begins.
        overlay: relevance ``[n_samples]`` or ``[n_leads, n_samples]``; drawn as shades
            of its absolute value, the largest on the page darkest.
        shaded: what these shades mean, for the note below.

    Returns:
        The figure, and one row per strip: ``lead, row, start_s, stop_s, x_mm, y_mm``
        (left end of its middle line from the lower left corner), ``offset_mv, min_mv,
        max_mv, missing`` (share), ``flat``, ``cut`` (some of it is beyond its row and
        not drawn).

    Raises:
        EcgnbError: the recording is empty, or the overlay has another shape.
    """
    if 0 in recording.signal.shape:
        raise EcgnbError(
            f"Recording {recording.record_id} has shape {recording.signal.shape}: "
            "there is nothing to draw."
        )
    probabilities = probabilities or {}
    part = page_part(recording, start)
    strips = lay_out(part)
    lines = _header_lines(recording, predicted, truth)
    n_bars = min(len(probabilities), _MAX_PROBABILITIES + 1)  # one is for the note
    page = Page(strips, header_mm=5.0 + max(5.8 * (1 + len(lines)), 4.7 * n_bars))
    if overlay is not None:
        _draw_overlay(page, recording, strips, overlay)
    for row in range(len(page.middles)):
        page.draw_pulse(row)
    for strip in strips:
        page.draw_strip(strip, strip.lead)
        if strip.start + strip.shift > page.start:
            page.draw_border(strip)
    _write_header(page, recording, lines)
    _draw_probabilities(page, probabilities, (predicted or "").split("|"))
    table = page.table(strips)
    notes = [f"{recording.fs:g} Hz", _time_text(part), "each lead about its median"]
    if overlay is not None:
        notes.append(f"shaded: {shaded}")
    if table["missing"].any():
        notes.append("grey: no signal")
    if table["cut"].any():
        notes.append(f"cut off: {', '.join(table['lead'][table['cut']].unique())}")
    if recording.flags:
        notes.append(f"flags: {', '.join(recording.flags)}")
    page.write_notes(notes)
    return page.figure, table


def _draw_overlay(
    page: Page, recording: Recording, strips: Sequence[Strip], overlay: np.ndarray
) -> None:
    values = np.abs(np.asarray(overlay, dtype=np.float64))
    shape = recording.signal.shape
    if values.shape not in (shape, shape[1:]):
        raise EcgnbError(
            f"The overlay has shape {values.shape}, the signal {shape}. Give one value "
            "per sample, or one per lead and sample."
        )
    values = np.broadcast_to(values, shape)
    shown = []
    for strip in strips:
        first = round(strip.start * recording.fs)
        stop = round(strip.stop * recording.fs)
        shown.append(values[recording.leads.index(strip.lead), first:stop])
    largest = np.nanmax(np.concatenate(shown), initial=0.0) or 1.0
    for strip, shares in zip(strips, shown, strict=True):
        page.shade(strip, shares / largest)


def _header_lines(
    recording: Recording, predicted: str | None, truth: str | None
) -> list[tuple[str, str]]:
    """Return the lines below the name, each with its colour."""
    age = recording.metadata.get("age")
    patient = ["age unknown", str(recording.metadata.get("sex") or "sex unknown")]
    if isinstance(age, int | float) and np.isfinite(age):
        patient[0] = f"{float(age):g} years"
    if recording.patient_id:
        patient.append(f"patient {recording.patient_id}")
    lines = [(", ".join(patient), INK)]
    if truth is not None:
        lines.append((f"Label: {shorten(_class_names(truth), 56)}", INK))
    if predicted is None:
        return lines
    prediction = f"Prediction: {shorten(_class_names(predicted), 44)}"
    if truth is None:
        return [*lines, (prediction, INK)]
    if set(predicted.split("|")) == set(truth.split("|")):
        return [*lines, (f"{prediction} (agrees)", INK)]
    return [*lines, (f"{prediction} (differs)", PALETTE[1])]


def _class_names(joined: str) -> str:
    return joined.strip("|").replace("|", ", ") or "none of the classes"


def _write_header(
    page: Page, recording: Recording, lines: Sequence[tuple[str, str]]
) -> None:
    y = page.height - 5.5
    name = shorten(f"{recording.dataset} {recording.record_id}", 40)
    page.write(MARGIN_MM, y, name, fontsize=12, fontweight="bold")
    for k, (line, colour) in enumerate(lines, start=1):
        line_y = y - 5.6 * k
        page.write(MARGIN_MM, line_y, shorten(line, 66), fontsize=9, color=colour)


def _draw_probabilities(
    page: Page, probabilities: Mapping[str, float], called: Sequence[str]
) -> None:
    """Draw the highest probabilities as bars in the right half of the header."""
    order = sorted(probabilities, key=lambda name: -probabilities[name])
    middle, right = page.width / 2, page.width - MARGIN_MM - 14
    left = middle + 52  # of the bars
    y = page.height - 5.5
    for name in order[:_MAX_PROBABILITIES]:
        value = float(probabilities[name])
        weight, colour = "normal", "#A9BFD0"
        if name in called:
            weight, colour = "bold", PALETTE[0]
        look = {"ha": "right", "fontweight": weight}
        page.write(left - 2, y, shorten(name, 26), **look)
        page.write(right + 13, y, f"{100 * value:.1f} %", **look)
        for share, facecolor in ((1.0, "#EFEFEF"), (value, colour)):
            width = (right - left) * share
            bar = Rectangle((left, y - 1.4), width, 2.8, facecolor=facecolor)
            page.ax.add_patch(bar)
        y -= 4.7
    if len(order) > _MAX_PROBABILITIES:
        text = (
            f"the {_MAX_PROBABILITIES} highest of {len(order)} probabilities; bold: "
            "called"
        )
        page.write(middle + 2, y, text, color=MUTED)


def _time_text(part: PagePart) -> str:
    recording = part.recording
    whole = f"{recording.duration:.1f} s"
    if part.stop - part.first == recording.n_samples:
        return whole
    first, stop = part.first / recording.fs, part.stop / recording.fs
    return f"{first:.1f} to {stop:.1f} s of {whole}"


@FIGURES.register(
    "class_examples",
    caption="One prepared recording of each class.",
    needs="prepare",
    order=30,
)
@styled
def plot_class_examples(
    examples: Mapping[str, Recording], *, lead: str = RHYTHM_LEAD, limit: int = 12
) -> Drawing:
    """Draw one strip of one recording for each class, one below the other.

    Args:
        examples: class name to a recording of that class.
        lead: the lead drawn; the first one of recordings that do not have it.
        limit: most classes drawn; the first ones are taken.

    Returns:
        The figure, and the table of `plot_ecg` with ``class`` and ``record_id`` first.

    Raises:
        EcgnbError: there is no recording.
    """
    shown = {}
    for name, recording in list(examples.items())[:limit]:
        if 0 not in recording.signal.shape:
            shown[name] = recording
    if not shown:
        raise EcgnbError(
            "There is no recording to show: give at least one class with a recording "
            "that has samples."
        )
    strips = []
    for row, recording in enumerate(shown.values()):
        number = recording.leads.index(lead) if lead in recording.leads else 0
        part = page_part(recording, 0.0)
        strips.append(part.strip(number, row, part.first, part.stop))
    page = Page(strips, header_mm=10.0)
    for (name, recording), strip in zip(shown.items(), strips, strict=True):
        page.draw_pulse(strip.row)
        record_id = shorten(recording.record_id, 24)
        page.draw_strip(strip, f"{shorten(name, 40)}  ({strip.lead}, {record_id})")
    title = f"One recording of each class, {len(shown)} of {len(examples)} classes"
    page.write(MARGIN_MM, page.height - 5, title, fontsize=10)
    page.write_notes([f"the first {PAGE_S:g} s at most", "each lead about its median"])
    table = page.table(strips)
    table.insert(0, "class", list(shown))
    table.insert(1, "record_id", [item.record_id for item in shown.values()])
    return page.figure, table
