"""Checkpoints: files from which a training resumes exactly.

A checkpoint is one file of tensors and plain numbers. It is written under a temporary
name and renamed, so it is complete or absent, and it is read with
``weights_only=True``, so nothing in it is ever executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecgnb.core.errors import CheckpointError, first_few
from ecgnb.core.files import atomic_write

#: Written into each checkpoint; a change of the layout raises it.
FORMAT = 3


def save_checkpoint(path: str | Path, contents: dict[str, Any]) -> None:
    """Write ``contents`` (tensors, numbers, texts, lists and dicts of them) as a
    checkpoint, atomically.
    """
    with atomic_write(path) as temporary:
        try:
            torch.save({"format": FORMAT, **contents}, temporary)
        except RuntimeError as error:  # PyTorch's error for an incomplete write
            raise OSError(f"it ended short ({_first_line(error)})") from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint into host memory.

    Raises:
        CheckpointError: the file is missing, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"The checkpoint {path} is missing. Put it back, or delete {path.parent} "
            "and train anew."
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    # Zip, pickle or key errors, depending on which bytes are damaged.
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged and cannot be read "
            f"({type(error).__name__}: {_first_line(error)}). It was complete when it "
            f"was written, so something changed it since. Put a copy back, or delete "
            f"{path.parent} and train anew."
        ) from error
    if isinstance(contents, dict):
        file_format = contents.get("format")
    else:
        file_format = type(contents).__name__
    if file_format != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of ecgnb "
            f"(format {file_format!r}, expected {FORMAT}). "
            "Move it away, or use the version that wrote it."
        )
    return contents


def check_identity(path: Path, saved: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare the configuration of a checkpoint with the expected one.

    Raises:
        CheckpointError: they differ; the message names each difference.
    """
    differences = []
    for name in saved | expected:
        before, now = saved.get(name), expected.get(name)
        if before != now:
            differences.append(f"{name} was {before!r}, is {now!r}")
    if differences:
        raise CheckpointError(
            f"The checkpoint {path} belongs to another configuration: "
            f"{'; '.join(differences)}. Use the old values to go on with it, start a "
            f"new run, or delete {path.parent} to train anew."
        )


def load_weights(
    module: nn.Module, weights: dict[str, torch.Tensor], path: str | Path
) -> None:
    """Load ``weights`` into ``module``; names and shapes must agree exactly.

    Args:
        module: a model or an objective.
        weights: its ``state_dict``.
        path: file of the weights, for the message.

    Raises:
        CheckpointError: the weights are of another module.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        expected = module.state_dict()
        names_of = {
            "missing": sorted(expected.keys() - weights.keys()),
            "unexpected": sorted(weights.keys() - expected.keys()),
            "other shape": _other_shapes(expected, weights),
        }
        differences = []
        for kind, names in names_of.items():
            if names:
                differences.append(f"{kind}: {first_few(names, 3)}")
        listed = "; ".join(differences)
        raise CheckpointError(
            f"The checkpoint {path} is of another model ({listed}). Build "
            "the model with the options that it was trained with, or delete "
            f"{Path(path).parent} and train anew."
        ) from error


def _other_shapes(
    expected: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]
) -> list[str]:
    lines = []
    for name, tensor in expected.items():
        wanted = tuple(tensor.shape)
        shape = tuple(weights.get(name, tensor).shape)
        if shape != wanted:
            lines.append(f"{name} {shape} instead of {wanted}")
    return lines


def load_best(
    path: str | Path, model: nn.Module, objective: nn.Module | None = None
) -> dict[str, Any]:
    """Load the weights of ``best.ckpt`` into ``model`` and ``objective``.

    Returns:
        ``epoch``, ``score``, ``loss``, ``monitor``, ``classes``, ``task`` and
        ``identity`` of the checkpoint.
    """
    contents = read_checkpoint(path)
    load_weights(model, contents.pop("model"), path)
    objective_weights = contents.pop("objective")
    if objective is not None:
        load_weights(objective, objective_weights, path)
    return contents


def _first_line(error: Exception) -> str:
    text = str(error)
    return text.splitlines()[0][:200] if text else ""
