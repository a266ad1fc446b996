"""`diagnose`: why a layer diverges. A cause is named only when undoing it makes the
layer agree with the reference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ecgnb.core.errors import PortError
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof import guess_structure, guess_values, guess_weights
from ecgnb.port.proof.facts import facts_of
from ecgnb.port.proof.layer_rows import OUTPUT, UNKNOWN, Bench, Row
from ecgnb.port.proof.record import UNFIT, in_keras_layout, outputs_of
from ecgnb.port.proof.reference import Reference, Stored
from ecgnb.port.proof.segment import Segment, difference
from ecgnb.port.proof.trial import Hypothesis, Trial

#: What is tried, stage by stage: a later one only where nothing of those before it
#: fits, because it takes long or has so many free numbers that it fits much.
STAGES: tuple[tuple[Hypothesis, ...], ...] = (
    (
        guess_weights.kernel_flipped,
        guess_weights.kernel_shifted,
        guess_weights.kernel_axes,
        guess_weights.arrays_exchanged,
        guess_weights.parts_exchanged,
        guess_values.epsilon,
        guess_values.input_units,
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
        guess_values.variance_or_deviation,
        guess_values.bias,
        guess_values.single_weight,
    ),
    (
        guess_weights.leads_swapped,
        guess_weights.lead_negated,
        guess_weights.table_shifted,
        guess_weights.arrays_of_another_layer,
        guess_weights.channels_permuted,
        guess_structure.time_reversed,
    ),
    (guess_values.factor,),
)
#: A repair is as good as another when its misfit is up to this many times as large,
AS_GOOD = 3.0
#: or when it is no more than float32 rounding.
ROUNDING_ERROR = 5e-7
#: Pieces of more nodes than this are not searched: too much lies between two outputs
#: that the reference knows.
LONGEST = 24


def diagnose(
    port: PortedModel, reference: Reference, label: str, rtol: float = 1e-5
) -> str:
    """Tell why a layer diverges, given that all layers before it agree.

    The layer's own input is then right, so each possible cause can be undone on a copy
    of the layer: it is named if that makes the output agree with the reference, and
    only then.

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
        raise PortError(
            f"{label!r} was not compared; the labels are those of Comparison.table."
        )
    return cause_of(bench, row)


def cause_of(bench: Bench, row: Row) -> str:
    """Return the cause of a row's difference in one or two sentences."""
    if row.node is None:
        return (
            f"{row.name}: all that was compared forwards agrees, so the way back differs: a layer that is not "
            "differentiated (detach, rounding, in place), or that has another derivative where its values are the same."
        )
    prefix = f"{row.name} ({row.class_name}): "
    if not bench.is_computed(row.node):
        return f"{prefix}it cannot be computed: {_stop(bench)}"
    stored = bench.known.get(row.node)
    if row.kind == OUTPUT:
        stored = Stored.whole(bench.reference.outputs[int(row.name.split()[-1])])
    assert stored is not None
    other = _other_output(bench, row, stored)
    if other:
        return prefix + other
    segment = bench.segment(row.node, stored)
    state = _state(bench, segment)
    if state:
        return prefix + state
    if len(segment.nodes) > LONGEST:
        return (
            f"{prefix}unknown: {len(segment.nodes)} steps lie between it and what the reference knows of before: "
            f"give a reference with all layers (Reference.from_keras). {facts_of(segment)}"
        )
    found, tried = _search(segment)
    if found:
        first, left = found[0], _misfit(segment, found[0])
        others = [
            kind
            for kind in dict.fromkeys(trial.kind for trial in found)
            if kind != first.kind
        ]
        also = f" As well fits: {', '.join(others[:3])}." if others else ""
        return f"{prefix}{first.kind}: {first.detail}. So repaired, the layer agrees to {left:.1e} of its scale.{also}"
    kind = "unknown" if row.shape == stored.shape else "shapes differ"
    return (
        f"{prefix}{kind}: none of {tried} repairs makes it agree. {facts_of(segment)}"
    )


def _stop(bench: Bench) -> str:
    """Tell where the port stopped, and why."""
    stopped = bench.run if bench.run.error else bench.referee
    first = next(node for node in bench.port.graph.nodes if node not in stopped.values)
    shapes = [list(stopped.values[each].shape) for each in first.all_input_nodes]
    return f"shapes differ or do not fit: the port stops at {first.name}, which is given {shapes}: {stopped.error}"


def _search(segment: Segment) -> tuple[list[Trial], int]:
    """Return the repairs that fit best, and how many were tried; some fit by chance,
    but hardly as well.
    """
    tried = 0
    for stage in STAGES:
        results = [
            result for hypothesis in stage for result in _results(segment, hypothesis)
        ]
        tried += len(results)
        fitting = [
            (misfit, trial) for misfit, trial in results if misfit <= segment.rtol
        ]
        if fitting:
            best = min(misfit for misfit, _ in fitting)
            return [
                trial
                for misfit, trial in fitting
                if misfit <= max(AS_GOOD * best, ROUNDING_ERROR)
            ], tried
    return [], tried


def _results(segment: Segment, hypothesis: Hypothesis) -> Iterator[tuple[float, Trial]]:
    for node in reversed(segment.nodes):
        with contextlib.suppress(
            *UNFIT
        ):  # of a hypothesis that has no meaning for these shapes
            for trial in hypothesis(segment, node):
                yield _misfit(segment, trial), trial


def _misfit(segment: Segment, trial: Trial) -> float:
    try:
        return segment.misfit(segment.run(trial.swaps))
    except UNFIT:
        return float("inf")


def _state(bench: Bench, segment: Segment) -> str:
    """Tell of a port whose float64 copy at inference agrees though it does not
    itself.
    """
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
        if not bench.is_computed(node):
            continue
        values = in_keras_layout(node, bench.run.values[node]).cpu().numpy()
        if (
            node is not row.node
            and difference(values, stored) <= bench.rtol * stored.scale
        ):
            return f"order of outputs: the port's output {place} is what the reference gives here."
    return ""
