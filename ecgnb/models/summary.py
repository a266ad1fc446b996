"""A table of a model's parts: what comes out of each, its parameters and its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ecgnb.models.base import Backbone

if TYPE_CHECKING:
    import pandas as pd


def model_summary(model: Backbone) -> pd.DataFrame:
    """Return a row for each part of the model and one for the whole.

    Columns: ``part`` (its name in the model), ``kind`` (its class), ``output`` (the
    shape for one recording), ``parameters``, and ``flops``: floating point operations
    of one forward pass, two a multiply-add, counted in convolutions and matrix products
    (as ``torch.utils.flop_counter`` does; other operations are not counted).

    Args:
        model: any backbone; it is run once on zeros, in evaluation mode, and left as it
            was.
    """
    import pandas as pd

    parts = dict(_parts(model))
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        part.register_forward_hook(_note_shape(name, shapes))
        for name, part in parts.items()
    ]
    try:
        flops, shapes["total"] = _run_once(model)
    finally:
        for hook in hooks:
            hook.remove()
    root = type(model).__name__
    rows = [
        _row(name, part, shapes, flops.get(f"{root}.{name}", 0))
        for name, part in parts.items()
    ]
    rows.append(_row("total", model, shapes, flops.get("Global", 0)))
    return pd.DataFrame(rows)


def _parts(model: Backbone) -> Iterator[tuple[str, nn.Module]]:
    """Yield the model's children by name; a list of stages is opened."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{index}", part) for index, part in enumerate(child))
        else:
            yield name, child


def _note_shape(
    name: str, shapes: dict[str, tuple[int, ...]]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None]:
    def hook(
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor | tuple[Tensor, ...],
    ) -> None:
        last = (
            output[-1] if isinstance(output, tuple) else output
        )  # a part that gives all its maps shows the last
        shapes[name] = tuple(last.shape[1:])

    return hook


def _run_once(model: Backbone) -> tuple[dict[str, int], tuple[int, ...]]:
    """Run the model on one silent recording; return the FLOPs of each module by its
    full name, and the output's shape.

    The output of a model without a classifier is its embedding.
    """
    some = next(model.parameters())
    silence = torch.zeros(
        1, model.n_leads, model.n_samples, device=some.device, dtype=some.dtype
    )
    training = model.training
    model.eval()
    if not model.n_classes:
        vars(model.head)["forward"] = model.head.embed  # for this run alone
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = model(silence)
    finally:
        model.train(training)
        vars(model.head).pop("forward", None)
    return {
        name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()
    }, tuple(output.shape[1:])


def _row(
    name: str, part: nn.Module, shapes: dict[str, tuple[int, ...]], flops: int
) -> dict[str, object]:
    return {
        "part": name,
        "kind": type(part).__name__,
        "output": " x ".join(map(str, shapes.get(name, ()))),
        "parameters": sum(parameter.numel() for parameter in part.parameters()),
        "flops": flops,
    }
