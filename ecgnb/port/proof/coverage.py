"""Which weights a comparison has put to the test: those that move what is compared."""

from __future__ import annotations

import torch

from ecgnb.port.proof.record import in_keras_layout
from ecgnb.port.proof.rows import Bench


def untested_weights(bench: Bench) -> dict[str, tuple[int, int]]:
    """Count weights that have no influence on any compared layer, by the path of the module that holds them.

    A weight behind a unit that is zero on all inputs, or before a ReLU that is shut on all, may be wrong without a
    trace. Influence is the gradient of a random combination of the layer's compared values; it is zero by chance with
    probability zero.

    Returns:
        For each module with such weights their number and the number of all its weights.
    """
    generator = torch.Generator().manual_seed(0)
    influence: dict[torch.Tensor, torch.Tensor] = {}
    for node, stored in bench.known.items():
        if (
            not bench.is_computed(node)
            or tuple(in_keras_layout(node, bench.referee.values[node]).shape) != stored.shape
        ):
            continue  # it diverges; nothing is compared value by value
        segment = bench.segment(node, stored)
        modules = [segment.module_of(each) for each in segment.nodes]
        weights = list({each: None for module in modules if module is not None for each in module.parameters()})
        if not weights or not all(each.dtype == torch.float64 for each in weights):
            continue
        with torch.enable_grad():
            kept = in_keras_layout(node, segment.compute())
            kept = kept if stored.steps is None else kept[:, torch.as_tensor(stored.steps.astype("int64"))]
            mixed = (kept * torch.randn(kept.shape, generator=generator, dtype=torch.float64).to(kept.device)).sum()
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
