"""Table of a model's parts: output shape, parameters, floating point operations."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ecgnb.models.base import Backbone

if TYPE_CHECKING:
    import pandas as pd


def model_summary(model: Backbone) -> pd.DataFrame:
    """Return one row per part of the model and one for the whole.

    Columns: ``part`` (its name in the model), ``kind`` (its class), ``output`` (the
    shape for one recording), ``parameters``, and ``flops``: floating point operations
    of one forward pass, two per multiply-add, counted in convolutions and matrix
    products (as ``torch.utils.flop_counter`` does; other operations are not counted).

    Args:
        model: any backbone; it is run once on zeros, in evaluation mode, and its mode
            is restored.
    """
    import pandas as pd  # building a model needs no pandas

    parts = _parts(model)
    shapes: dict[str, tuple[int, ...]] = {}

    def note_shape(name: str, _: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, tuple):  # all feature maps: show the last
            output = output[-1]
        shapes[name] = tuple(output.shape[1:])  # without the batch

    with ExitStack() as hooks:
        for name, part in parts.items():
            hook = part.register_forward_hook(partial(note_shape, name))
            hooks.enter_context(hook)
        flops, shapes["total"] = _run_once(model)
    rows = []
    for name, part in {**parts, "total": model}.items():
        path = f"{type(model).__name__}.{name}" if part is not model else "Global"
        row = {
            "part": name,
            "kind": type(part).__name__,
            "output": " x ".join(map(str, shapes.get(name, ()))),
            "parameters": sum(p.numel() for p in part.parameters()),
            "flops": flops.get(path, 0),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _parts(model: Backbone) -> dict[str, nn.Module]:
    """Return the model's children by name, and those of a list of stages."""
    parts: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):  # stages or layers: one row each
            for index, part in enumerate(child):
                parts[f"{name}.{index}"] = part
        else:
            parts[name] = child
    return parts


def _run_once(model: Backbone) -> tuple[dict[str, int], tuple[int, ...]]:
    """Run the model on zeros; return FLOPs by module name, and the output's shape.

    The output of a model without a classifier is its embedding.
    """
    weight = next(model.parameters())
    shape = (1, model.n_leads, model.n_samples)
    x = torch.zeros(shape, device=weight.device, dtype=weight.dtype)  # one recording
    training = model.training
    model.eval()
    if not model.n_classes:
        vars(model.head)["forward"] = model.head.embed  # for this run alone
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = model(x)
    finally:
        model.train(training)
        vars(model.head).pop("forward", None)
    counts = counter.get_flop_counts()  # by module and operation
    flops = {name: sum(by_operation.values()) for name, by_operation in counts.items()}
    return flops, tuple(output.shape[1:])
