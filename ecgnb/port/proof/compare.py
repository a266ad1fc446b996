"""Compare a port with its Keras reference: every layer, logits, probabilities and input
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ecgnb.core.console import html_table
from ecgnb.core.errors import PortError
from ecgnb.port.build import before_activation, output_nodes
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.diagnose import likely_cause
from ecgnb.port.proof.layer_rows import (
    COMPARED,
    DIVERGES,
    EQUAL,
    GRADIENT,
    LAYER,
    LOGITS,
    MISSING,
    OUTPUT,
    ROUNDING,
    UNKNOWN,
    Row,
    Verification,
)
from ecgnb.port.proof.port_run import in_keras_layout
from ecgnb.port.proof.reference import Reference, Stored, read_reference

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import fx

COLUMNS = (
    "layer",
    "class",
    "shape",
    "scale",
    "max_abs",
    "relative",
    "port_vs_float64",
    "reference_vs_float64",
    "verdict",
)
#: A probability this near to 0 or 1 no longer moves with the logits in float32.
SATURATED = 1e-6
#: A gradient whose largest value is below this counts as zero.
ZERO_GRADIENT = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        table: one row per layer in call order, then logits, outputs and input
            gradients: ``layer``, ``class``, ``shape``, ``scale`` (max|reference|),
            ``max_abs`` (max|port - reference|), ``relative`` (to the scale),
            ``port_vs_float64`` and ``reference_vs_float64`` (the largest distance of
            each from the port in float64, relative to the scale) and ``verdict``:
            ``equal``; ``rounding`` (above the tolerance, but no more than float32
            rounding of the layer's sums); ``DIVERGES``; ``not in the reference``;
            ``missing in the port``.
        passed: whether nothing diverges and something agrees that could have differed.
        first_divergent: the first row that diverges; everything before it agrees.
        cause: the mistake whose repair makes that row agree, else a description of the
            difference.
        warnings: why the comparison proves less than it seems to.
        rtol: tolerance relative to each layer's scale.
        gradient_rtol: the same for gradients.
        source: origin of the reference.
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
        result = "PASSED" if self.passed else "FAILED"
        lines = [
            f"{result}: {len(agree)} of {len(compared)} rows agree with {self.source}."
        ]
        if len(agree):
            worst = agree.iloc[int(agree["relative"].argmax())]
            lines.append(
                "Largest relative difference among them: "
                f"{worst['relative']:.1e} ({worst['layer']}); tolerance "
                f"{self.rtol:.0e}, gradients {self.gradient_rtol:.0e}."
            )
        if self.first_divergent is not None:
            lines.append(f"First to diverge: {self.first_divergent}.")
            lines.append(f"Likely cause: {self.cause}")
        elif not self.passed:
            lines.append("Nothing was compared that could have differed.")
        lines += [f"Warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shapes = ["x".join(map(str, shape)) for shape in self.table["shape"]]
        formatters: dict[Any, Callable[[Any], str]]
        formatters = dict.fromkeys(COLUMNS[3:8], "{:.2g}".format)  # the numbers
        table = html_table(self.table.assign(shape=shapes), formatters)
        return f"<pre>{escape(str(self))}</pre>{table}"

    def raise_if_failed(self) -> Comparison:
        """Return the comparison itself if it passed.

        Raises:
            PortError: it failed; with the first divergent layer and the likely cause.
        """
        if not self.passed:
            raise PortError(str(self))
        return self

    def plot(self) -> Figure:
        """Draw the differences of all layers; see
        `ecgnb.figures.port_comparison.plot_comparison`.
        """
        # Inside, since matplotlib is slow to import and most comparisons draw nothing.
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
    float64 copy of the port is the referee: it shows for every layer how far each of
    the two is from the exact result.

    Args:
        port: as `port_keras` returns it; it is not changed, and it is compared in its
            current mode.
        reference: what Keras computes, or the path of a golden file.
        rtol: tolerance relative to each layer's scale.
        gradient_rtol: the same for input gradients, whose numbers have passed all
            layers twice.

    Raises:
        PortError: the reference is damaged, or of another model.
    """
    if not isinstance(reference, Reference):
        reference = read_reference(reference)
    verification = Verification(port, reference, rtol, gradient_rtol)
    rows = verification.rows()
    first = next((row for row in rows if row.verdict == DIVERGES), None)
    table = pd.DataFrame([vars(row) for row in rows])
    table = table.rename(columns={"name": "layer", "class_name": "class"})
    return Comparison(
        table=table[list(COLUMNS)],
        passed=first is None and _proves_something(verification, rows),
        first_divergent=first.name if first else None,
        cause=likely_cause(verification, first) if first else "",
        warnings=[
            *_saturation_warnings(verification, rows),
            *_gradient_warnings(verification, rows),
            *_outputs_only_warnings(verification, rows),
            *_untested_weight_warnings(verification),
            *_other_warnings(verification, rows),
        ],
        rtol=rtol,
        gradient_rtol=gradient_rtol,
        source=reference.source,
    )


def _proves_something(verification: Verification, rows: Sequence[Row]) -> bool:
    """Whether something that agrees could have differed: neither zero nor a saturated
    probability.
    """
    saturation = _saturation(verification)
    outputs = output_nodes(verification.port.graph)
    for row in rows:
        # A layer that makes an output counts once, as the output.
        is_output = row.kind == LAYER and row.node in outputs
        n_saturated, _ = saturation.get(row.name, (0, 0))
        if is_output or n_saturated:
            continue
        agrees = row.verdict in (EQUAL, ROUNDING)
        if agrees and row.scale > ZERO_GRADIENT:
            return True
    return False


def _saturation(verification: Verification) -> dict[str, tuple[int, int]]:
    """Return for each output with a softmax or sigmoid, by its row's name, the number
    of saturated samples and of all.
    """
    counts = {}
    port, outputs = verification.port, verification.reference.outputs
    for number, node in enumerate(output_nodes(port.graph)):
        values = outputs[number]
        _, activation = before_activation(node, port)
        if activation != "linear" and values.size:
            n_samples = len(values)
            distance = np.minimum(np.abs(values), np.abs(1 - values))  # from 0 or 1
            is_saturated = distance <= SATURATED
            saturated = is_saturated.reshape(n_samples, -1).any(axis=1)  # [B]
            counts[f"output {number}"] = (int(saturated.sum()), n_samples)
    return counts


def _saturation_warnings(
    verification: Verification, rows: Sequence[Row]
) -> Iterator[str]:
    logits = [row.name for row in rows if row.kind == LOGITS]
    for name, (count, total) in _saturation(verification).items():
        if not count:
            continue
        with_logits = "and its logits are not there"
        if f"logits of {name}" in logits:
            with_logits = "its logits were compared as well"
        yield (
            f"{name} is saturated (within {SATURATED:g} of 0 or 1) in {count} of "
            f"{total} samples: equal probabilities prove nothing there; {with_logits}."
        )


def _gradient_warnings(
    verification: Verification, rows: Sequence[Row]
) -> Iterator[str]:
    gradients = [row for row in rows if row.kind == GRADIENT]
    for row in gradients:
        if row.scale <= ZERO_GRADIENT:  # behind saturated or shut units
            yield (
                f"{row.name} is zero (max {row.scale:.1e}) on these inputs: it proves "
                "nothing. Compare on other ECGs."
            )
    kinds = [array.dtype.kind for array in verification.reference.inputs.values()]
    if not gradients and "f" in kinds:
        yield "the reference holds no input gradients; explanations were not compared."


def _outputs_only_warnings(
    verification: Verification, rows: Sequence[Row]
) -> Iterator[str]:
    outputs = output_nodes(verification.port.graph)
    for row in rows:
        is_inner = row.kind in (LAYER, LOGITS) and row.node not in outputs
        if is_inner and row.verdict in COMPARED:
            return
    # In a small model every layer may be an output; then no row is unknown.
    if all(row.verdict != UNKNOWN for row in rows):
        return
    what = "probabilities" if _saturation(verification) else "outputs"
    yield (
        f"only the final {what} were compared. Wrong kernels, lost biases and swapped "
        "leads can leave them as they are: use a reference with all layers "
        "(Reference.from_keras)."
    )


def _untested_weight_warnings(verification: Verification) -> Iterator[str]:
    counts = untested_weights(verification)
    if not counts:
        return
    examples = []
    for path in sorted(counts, key=lambda path: counts[path][0], reverse=True):
        untested, total = counts[path]
        examples.append(f"{path} {untested} of {total}")
    if len(examples) > 4:
        examples[4:] = ["..."]
    n_untested = sum(untested for untested, _ in counts.values())
    yield (
        f"{n_untested} weights have no influence on these inputs (units that are zero, "
        "ReLUs that are shut) and could be wrong without a trace: "
        f"{', '.join(examples)}. Compare on more ECGs."
    )


def _other_warnings(verification: Verification, rows: Sequence[Row]) -> Iterator[str]:
    missing = [row.name for row in rows if row.verdict == MISSING]
    if missing:
        yield (
            f"{len(missing)} outputs of the reference have no counterpart in the port: "
            f"{', '.join(missing[:5])}."
        )
    rounding = [row for row in rows if row.verdict == ROUNDING and row.kind != OUTPUT]
    if rounding:
        yield (
            f"{', '.join(row.name for row in rounding[:5])} differ by more than the "
            "tolerance, but by no more than float32 rounding does to the port itself "
            "(see port_vs_float64)."
        )
    if any(module.training for module in verification.port.modules()):
        yield "the port is in training mode (port.eval() ends it)."


def untested_weights(verification: Verification) -> dict[str, tuple[int, int]]:
    """Count weights that have no influence on any compared layer.

    A weight behind a unit that is zero on all inputs, or before a ReLU that is shut on
    all, may be wrong without a trace. Influence is the gradient of a random combination
    of the layer's compared values; it is zero by chance with probability zero.

    Returns:
        For each module with such weights, by its path, their number and the number of
        all its weights.
    """
    generator = torch.Generator().manual_seed(0)
    tested: dict[Tensor, Tensor] = {}
    for node, stored in verification.known.items():
        for weight, gradient in _influence(verification, node, stored, generator):
            moved = gradient != 0  # by at least one sample
            tested[weight] = moved | tested.get(weight, moved)
    counts = {}
    for path, module in verification.float64_run.module.named_modules():
        untested = total = 0
        for weight in module.parameters(recurse=False):
            if weight in tested:
                untested += int((~tested[weight]).sum())
                total += weight.numel()
        if untested:
            counts[path] = (untested, total)
    return counts


def _influence(
    verification: Verification,
    node: fx.Node,
    stored: Stored,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a layer's weights and the gradients of a random mix of its output."""
    if not verification.is_computed(node):
        return
    value = in_keras_layout(node, verification.float64_run.values[node])
    if tuple(value.shape) != stored.shape:  # it diverges
        return
    segment = verification.segment(node, stored)
    modules = nn.ModuleList(filter(None, map(segment.module_of, segment.nodes)))
    weights = list(modules.parameters())  # once where a layer is called twice
    if not weights or any(weight.dtype != torch.float64 for weight in weights):
        return
    with torch.enable_grad():
        output = in_keras_layout(node, segment.compute())
        if stored.steps is not None:  # only these were compared
            steps = torch.as_tensor(stored.steps.astype("int64"))
            output = output[:, steps]
        # On the CPU, so that the numbers are the same on every device.
        mix = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        total = (output * mix.to(output.device)).sum()
    gradients = torch.autograd.grad(
        total, weights, allow_unused=True, materialize_grads=True
    )
    yield from zip(weights, gradients, strict=True)
