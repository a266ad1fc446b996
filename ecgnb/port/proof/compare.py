"""`compare`: a port against its reference, layer by layer, in logits, probabilities and
input gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ecgnb.core.console import html_table
from ecgnb.core.errors import PortError
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.diagnose import cause_of
from ecgnb.port.proof.layer_rows import COMPARED, DIVERGES, Bench, Row
from ecgnb.port.proof.reference import Reference, read_reference
from ecgnb.port.proof.warn import proves_something, warnings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "layer", "class", "shape", "scale", "max_abs", "relative", "port_vs_float64", "reference_vs_float64", "verdict"
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        table: a row a layer in call order, then logits, outputs and input gradients:
            ``layer``, ``class``, ``shape``, ``scale`` (max|reference|), ``max_abs``
            (max|port - reference|), ``relative`` (to the scale), ``port_vs_float64``
            and ``reference_vs_float64`` (the largest distance of each from the float64
            referee, relative to the scale) and ``verdict``: ``equal``; ``rounding``
            (above the tolerance, but no more than float32 makes of the layer's own
            sums); ``DIVERGES``; ``not in the reference``; ``missing in the port``.
        passed: whether nothing diverges and something agrees that could have differed.
        first_divergent: the first row that diverges; everything it is computed from
            agrees.
        cause: what was shown to repair it; or, where no repair was found, what is known
            of the difference.
        warnings: why the comparison proves less than it seems to.
        rtol: tolerance relative to each layer's scale.
        gradient_rtol: the same for gradients.
        source: where the reference is from.
    """

    table: pd.DataFrame
    passed: bool
    first_divergent: str | None
    cause: str
    warnings: list[str]
    rtol: float
    gradient_rtol: float
    source: str

    def __str__(self) -> str:
        compared = self.table[self.table["verdict"].isin(COMPARED)]
        agree = compared[compared["verdict"] != DIVERGES]
        lines = [
            f"{'PASSED' if self.passed else 'FAILED'}: {len(agree)} of {len(compared)} rows agree with {self.source}."
        ]
        if len(agree):
            worst = agree.iloc[int(agree["relative"].to_numpy().argmax())]
            lines.append(
                f"Largest relative difference among them: {worst['relative']:.1e} ({worst['layer']}); tolerance "
                f"{self.rtol:.0e}, gradients {self.gradient_rtol:.0e}."
            )
        if self.first_divergent is not None:
            lines += [
                f"First to diverge: {self.first_divergent}.",
                f"Likely cause: {self.cause}",
            ]
        elif not self.passed:
            lines.append("Nothing was compared that could have differed.")
        return "\n".join(
            [*lines, *(f"Warning: {warning}" for warning in self.warnings)]
        )

    def _repr_html_(self) -> str:
        shown = self.table.assign(
            shape=["x".join(map(str, shape)) for shape in self.table["shape"]]
        )
        numbers = dict.fromkeys(
            ("scale", "max_abs", "relative", "port_vs_float64", "reference_vs_float64"),
            "{:.2g}",
        )
        formatters = {name: form.format for name, form in numbers.items()}
        return f"<pre>{escape(str(self))}</pre>{html_table(shown, formatters)}"

    def raise_if_failed(self) -> Comparison:
        """Return the comparison itself if it passed.

        Raises:
            PortError: it did not; with the first divergent layer and the likely cause.
        """
        if not self.passed:
            raise PortError(str(self))
        return self

    def plot(self) -> Figure:
        """Draw the differences of all layers; see
        `ecgnb.figures.port_comparison.plot_comparison`.
        """
        from ecgnb.figures.port_comparison import plot_comparison

        return plot_comparison(self.table, self.rtol, self.gradient_rtol)


def compare(
    port: PortedModel,
    reference: Reference | str | Path,
    rtol: float = 1e-5,
    gradient_rtol: float = 1e-4,
) -> Comparison:
    """Compare a port with what the Keras model really computes.

    Two correct float32 programs differ by rounding, which grows with the numbers in a
    layer; so a layer agrees when max|port - reference| <= ``rtol`` * max|reference|. A
    float64 copy of the port is the referee: it tells for every layer how far each of
    the two is from the exact result.

    Args:
        port: as `port_keras` returns it; it is not changed, and it is compared in the
            state it is in.
        reference: what Keras computes, or the path of a golden file.
        rtol: tolerance relative to each layer's scale.
        gradient_rtol: the same for input gradients, whose numbers have passed all
            layers twice.

    Raises:
        PortError: the reference is damaged, or of another model.
    """
    reference = (
        reference if isinstance(reference, Reference) else read_reference(reference)
    )
    bench = Bench(port, reference, rtol, gradient_rtol)
    rows = bench.rows()
    bad = next((row for row in rows if row.verdict == DIVERGES), None)
    return Comparison(
        table=_table(rows),
        passed=bad is None and proves_something(bench, rows),
        first_divergent=bad.name if bad else None,
        cause=cause_of(bench, bad) if bad else "",
        warnings=warnings_of(bench, rows),
        rtol=rtol,
        gradient_rtol=gradient_rtol,
        source=reference.source,
    )


def _table(rows: list[Row]) -> pd.DataFrame:
    records = [
        (row.name, row.class_name, row.shape, row.scale, row.max_abs, row.relative, row.port_vs_float64,
         row.reference_vs_float64, row.verdict)
        for row in rows
    ]  # fmt: skip
    return pd.DataFrame(records, columns=list(COLUMNS))
