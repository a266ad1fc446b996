"""`diagnose`: why a layer diverges. A cause is named only when undoing it makes the layer agree with the reference."""

from __future__ import annotations

import contextlib

from torch import fx

from ecgnb.errors import PortError
from ecgnb.port import guess_structure, guess_values, guess_weights
from ecgnb.port.facts import facts_of
from ecgnb.port.ported import PortedModel
from ecgnb.port.record import in_keras_layout, outputs_of
from ecgnb.port.reference import Reference, Stored
from ecgnb.port.rows import OUTPUT, UNKNOWN, Bench, Row
from ecgnb.port.segment import Segment, difference
from ecgnb.port.trial import Hypothesis, Trial

#: What is tried, the specific before what fits much.
HYPOTHESES: tuple[Hypothesis, ...] = (
    guess_weights.kernel_flipped,
    guess_weights.kernel_axes,
    guess_weights.arrays_exchanged,
    guess_weights.parts_exchanged,
    guess_values.epsilon,
    guess_structure.padding_value,
    guess_structure.padding_side,
    guess_structure.cropping_side,
    guess_structure.dilation,
    guess_structure.flatten_order,
    guess_weights.flatten_order_of_kernel,
    guess_weights.gate_order,
    guess_structure.softmax_axis,
    guess_structure.other_pooling,
    guess_values.activation,
    guess_structure.merge_order,
    guess_weights.leads_swapped,
    guess_weights.table_shifted,
    guess_weights.arrays_of_another_layer,
    guess_weights.channels_permuted,
    guess_structure.time_reversed,
    guess_values.variance_or_deviation,
    guess_values.bias,
    guess_values.single_weight,
    guess_values.factor,
)
#: What a repair raises that does not fit the shapes.
UNFIT = (RuntimeError, ValueError, IndexError, TypeError)
#: Pieces of more nodes than this are not searched: too much lies between two outputs that the reference knows.
LONGEST = 24


def diagnose(port: PortedModel, reference: Reference, label: str, rtol: float = 1e-5) -> str:
    """Tell why a layer diverges, given that all layers before it agree.

    The layer's own input is then right, so each possible cause can be undone on a copy of the layer: it is named if
    that makes the output agree with the reference, and only then.

    Args:
        port: as it was compared.
        reference: with which it was compared.
        label: of the first divergent layer, as in `Comparison.table`.
        rtol: tolerance relative to the layer's scale.

    Raises:
        PortError: there is no such row, or it was not compared.
    """
    bench = Bench(port, reference, rtol, gradient_rtol=10 * rtol)
    row = next((row for row in bench.rows() if row.name == label), None)
    if row is None or row.verdict == UNKNOWN:
        raise PortError(f"{label!r} was not compared; the labels are those of Comparison.table.")
    return cause_of(bench, row)


def cause_of(bench: Bench, row: Row) -> str:
    """Return the cause of a row's difference in one or two sentences."""
    if row.node is None:
        return (
            f"{row.name}: all that was compared forwards agrees, so the way back differs: a layer that is not "
            "differentiated (detach, rounding, in place), or whose derivative is another where the function is the same."
        )
    stored = bench.known.get(row.node)
    if row.kind == OUTPUT:
        stored = Stored.whole(bench.reference.outputs[int(row.name.split()[-1])])
    assert stored is not None
    other = _other_output(bench, row, stored)
    if other:
        return f"{row.name} ({row.class_name}): {other}"
    segment = bench.segment(row.node, stored)
    prefix = f"{row.name} ({row.class_name}): "
    state = _state(bench, segment)
    if state:
        return prefix + state
    if len(segment.nodes) > LONGEST:
        return (
            f"{prefix}unknown: {len(segment.nodes)} steps lie between it and the nearest output in the reference: "
            f"give a reference with all layers (Reference.from_keras). {facts_of(segment)}"
        )
    found, tried = _search(segment)
    if found:
        left = segment.misfit(segment.run(found.swaps))
        return f"{prefix}{found.kind}: {found.detail}. So repaired, the layer agrees to {left:.1e} of its scale."
    return f"{prefix}unknown: none of {tried} repairs makes it agree. {facts_of(segment)}"


def _search(segment: Segment) -> tuple[Trial | None, int]:
    tried = 0
    for hypothesis in HYPOTHESES:
        for node in reversed(segment.nodes):
            fitting, count = _first_fitting(segment, hypothesis, node)
            tried += count
            if fitting:
                return fitting, tried
    return None, tried


def _first_fitting(segment: Segment, hypothesis: Hypothesis, node: fx.Node) -> tuple[Trial | None, int]:
    count = 0
    with contextlib.suppress(*UNFIT):  # of a hypothesis that has no meaning for these shapes
        for trial in hypothesis(segment, node):
            count += 1
            with contextlib.suppress(*UNFIT):
                if segment.fits(trial.swaps):
                    return trial, count
    return None, count


def _state(bench: Bench, segment: Segment) -> str:
    """Tell of a port whose float64 copy at inference agrees though it does not itself."""
    if segment.misfit(segment.values[segment.target]) > segment.rtol:
        return ""
    modules = dict(bench.port.named_modules())
    called = [str(node.target) for node in segment.nodes if node.op == "call_module"]
    active = [name for name in called if modules[name].training]
    if active:
        return f"training mode: {', '.join(active)} is in training mode; after port.eval() the layer agrees."
    return (
        "precision: in float64 the port agrees, in its own precision it does not: reduced precision (TF32, "
        "bfloat16), or sums that cancel."
    )


def _other_output(bench: Bench, row: Row, stored: Stored) -> str:
    """Tell whether the port gives this output in another place."""
    if row.kind != OUTPUT:
        return ""
    for place, node in enumerate(outputs_of(bench.port)):
        values = in_keras_layout(node, bench.run.values[node]).cpu().numpy()
        if node is not row.node and difference(values, stored) <= bench.rtol * stored.scale:
            return f"order of outputs: the port's output {place} is what the reference gives here."
    return ""
