"""Why a comparison may prove less than it seems to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ecgnb.port.proof.layer_rows import (
    COMPARED,
    GRADIENT,
    LAYER,
    LOGITS,
    MISSING,
    OUTPUT,
    ROUNDING,
    UNKNOWN,
    Bench,
    Row,
)
from ecgnb.port.proof.record import in_keras_layout, logits_of, outputs_of


def untested_weights(bench: Bench) -> dict[str, tuple[int, int]]:
    """Count weights that have no influence on any compared layer, by the path of the
    module that holds them.

    A weight behind a unit that is zero on all inputs, or before a ReLU that is shut on
    all, may be wrong without a trace. Influence is the gradient of a random combination
    of the layer's compared values; it is zero by chance with probability zero.

    Returns:
        For each module with such weights their number and the number of all its
        weights.
    """
    generator = torch.Generator().manual_seed(0)
    influence: dict[torch.Tensor, torch.Tensor] = {}
    for node, stored in bench.known.items():
        if (
            not bench.is_computed(node)
            or tuple(in_keras_layout(node, bench.referee.values[node]).shape)
            != stored.shape
        ):
            continue  # it diverges; nothing is compared value by value
        segment = bench.segment(node, stored)
        modules = [segment.module_of(each) for each in segment.nodes]
        weights = list(
            {
                each: None
                for module in modules
                if module is not None
                for each in module.parameters()
            }
        )
        if not weights or not all(each.dtype == torch.float64 for each in weights):
            continue
        with torch.enable_grad():
            kept = in_keras_layout(node, segment.compute())
            kept = (
                kept
                if stored.steps is None
                else kept[:, torch.as_tensor(stored.steps.astype("int64"))]
            )
            mixed = (
                kept
                * torch.randn(kept.shape, generator=generator, dtype=torch.float64).to(
                    kept.device
                )
            ).sum()
        found = torch.autograd.grad(mixed, weights, allow_unused=True)
        for weight, gradient in zip(weights, found, strict=True):
            moved = torch.zeros_like(weight) if gradient is None else gradient.abs()
            influence[weight] = influence.get(weight, torch.zeros_like(weight)) + moved
    counted = {}
    for path, module in bench.referee.module.named_modules():
        own = [each for each in module.parameters(recurse=False) if each in influence]
        still = sum(int((influence[each] == 0).sum()) for each in own)
        if still:
            counted[path] = (still, sum(each.numel() for each in own))
    return counted


#: A probability this near to 0 or 1 no longer moves with the logits in float32.
SATURATED = 1e-6
#: A gradient smaller than this everywhere is taken for zero.
NO_GRADIENT = 1e-12


def proves_something(bench: Bench, rows: Sequence[Row]) -> bool:
    """Whether one of the things that agree at least could have differed: no saturated
    probability, nor a zero.
    """
    saturated = {
        f"output {place}" for place, (of, _) in _saturation(bench).items() if of
    }
    outputs = set(outputs_of(bench.port))
    return any(
        row.agrees
        and row.scale > NO_GRADIENT
        and not (
            row.kind == LAYER and row.node in outputs
        )  # counted as the output that it is
        and row.name not in saturated
        for row in rows
    )


def warnings_of(bench: Bench, rows: Sequence[Row]) -> list[str]:
    """Return what weakens a comparison, a sentence each."""
    parts = (_saturated, _gradients, _only_outputs, _untested, _others)
    return [sentence for part in parts for sentence in part(bench, rows)]


def _saturation(bench: Bench) -> dict[int, tuple[int, int]]:
    """For each output with a softmax or sigmoid: how many samples are saturated, and
    how many there are.
    """
    found = {}
    for place, (node, values) in enumerate(
        zip(outputs_of(bench.port), bench.reference.outputs, strict=True)
    ):
        if logits_of(bench.port, node)[1] != "linear" and values.size:
            near = (
                np.minimum(np.abs(values), np.abs(1 - values)) <= SATURATED
            ).reshape(len(values), -1)
            found[place] = (int(near.any(axis=1).sum()), len(values))
    return found


def _saturated(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    with_logits = {
        row.name.removeprefix("logits of ") for row in rows if row.kind == LOGITS
    }
    for place, (count, total) in _saturation(bench).items():
        if count:
            rest = (
                "its logits were compared as well"
                if f"output {place}" in with_logits
                else "and its logits are not there"
            )
            yield (
                f"output {place} is saturated (within {SATURATED:g} of 0 or 1) in {count} of {total} samples: equal "
                f"probabilities prove nothing there; {rest}."
            )


def _gradients(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    found = [row for row in rows if row.kind == GRADIENT]
    for row in found:
        if row.scale <= NO_GRADIENT:
            yield f"{row.name} is zero (max {row.scale:.1e}) on these inputs: it proves nothing. Compare on other ECGs."
    if not found and any(
        values.dtype.kind == "f" for values in bench.reference.inputs.values()
    ):
        yield "the reference holds no input gradients; explanations were not compared."


def _only_outputs(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    outputs = set(outputs_of(bench.port))
    inside = any(
        row.kind in (LAYER, LOGITS)
        and row.verdict in COMPARED
        and row.node not in outputs
        for row in rows
    )
    if inside or not any(
        row.verdict == UNKNOWN for row in rows
    ):  # every layer may be an output
        return
    what = "final probabilities were" if _saturation(bench) else "final outputs were"
    yield (
        f"only the {what} compared. Wrong kernels, lost biases and swapped leads can leave them as they are: "
        "use a reference with all layers (Reference.from_keras)."
    )


def _untested(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    counted = untested_weights(bench)
    if counted:
        worst = sorted(counted, key=lambda path: counted[path][0], reverse=True)[:4]
        total = sum(count for count, _ in counted.values())
        listed = ", ".join(
            f"{path} {counted[path][0]} of {counted[path][1]}" for path in worst
        )
        yield (
            f"{total} weights have no influence on these inputs (units that are zero, ReLUs that are shut) and could "
            f"be wrong without a trace: {listed}{', ...' if len(counted) > len(worst) else ''}. Compare on more ECGs."
        )


def _others(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    missing = [row.name for row in rows if row.verdict == MISSING]
    if missing:
        yield f"{len(missing)} outputs of the reference have no counterpart in the port: {', '.join(missing[:5])}."
    rounding = [
        row.name for row in rows if row.verdict == ROUNDING and row.kind != OUTPUT
    ]
    if rounding:
        yield (
            f"{', '.join(rounding[:5])} differ by more than the tolerance, but by no more than float32 rounding does "
            "to the port itself (see port_vs_float64)."
        )
    if bench.port.training or any(module.training for module in bench.port.modules()):
        yield "the port is in training mode (port.eval() ends it)."
