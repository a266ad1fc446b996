"""Checkpoints: everything that a training needs to go on as if it had never stopped.

A checkpoint is one file of tensors and plain numbers. It is written under another name
and renamed, so it is whole or absent, and it is read with ``weights_only=True``, so
nothing in it is ever executed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecgnb.core.errors import CheckpointError
from ecgnb.core.files import atomic_write

#: Written into each checkpoint; a change of the layout gets another number.
FORMAT = 1


@dataclass
class State:
    """Where a training stands. Model, optimizer and scaler are kept beside it;
    randomness needs no state.

    Attributes:
        epoch: epoch that is running, from 0.
        batch: batches of this epoch that are done.
        step: optimizer steps done since the start.
        loss_sum: sum of the training loss over the records of this epoch so far.
        n_records: records of this epoch so far, over all processes.
        epoch_seconds: time spent in this epoch so far.
        seconds: time spent in all finished epochs.
        best_score: best score so far; higher is better.
        best_epoch: its epoch, from 1; 0 before the first.
        stale_epochs: epochs since then.
        history: a row an epoch.
        done: the training has ended.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_records: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


def save_checkpoint(path: str | Path, contents: dict[str, Any]) -> None:
    """Write ``contents`` (tensors, numbers, texts, lists and dicts of them) as a
    checkpoint, atomically.
    """
    with atomic_write(path) as temporary:
        try:
            torch.save({"format": FORMAT, **contents}, temporary)
        except RuntimeError as error:  # what PyTorch makes of a write that ends short
            raise OSError(f"it ended short ({_first_line(error)})") from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint into host memory.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"The checkpoint {path} is missing. Put it back, or delete {path.parent} and train anew."
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # zip, pickle and key errors, whatever the damage happens to hit
        raise CheckpointError(
            f"The checkpoint {path} is damaged and cannot be read ({type(error).__name__}: {_first_line(error)}). "
            f"It was written whole, so something changed it since. Put a copy back, or delete {path.parent} and train "
            "anew."
        ) from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        found = (
            contents.get("format")
            if isinstance(contents, dict)
            else type(contents).__name__
        )
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of ecgnb (format {found!r}, expected {FORMAT}). "
            "Move it away, or use the version that wrote it."
        )
    return contents


def check_identity(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise ``CheckpointError`` when a checkpoint was made by another configuration,
    naming what differs.
    """
    names = [
        name for name in {**found, **expected} if found.get(name) != expected.get(name)
    ]
    if names:
        told = "; ".join(
            f"{name} was {found.get(name)!r}, is {expected.get(name)!r}"
            for name in names
        )
        raise CheckpointError(
            f"The checkpoint {path} belongs to another configuration: {told}. "
            f"Use the old values to go on with it, start a new run, or delete {path.parent} to train anew."
        )


def load_model_weights(
    model: nn.Module, weights: dict[str, torch.Tensor], path: str | Path
) -> None:
    """Put ``weights`` into ``model``; every tensor must be there, with its shape, and
    none may be left over.

    Raises:
        CheckpointError: the weights are of another model; ``path`` is named as their
            origin.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        own = model.state_dict()
        missing, surplus = (
            sorted(set(own) - set(weights)),
            sorted(set(weights) - set(own)),
        )
        shapes = [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in weights and own[name].shape != weights[name].shape
        ]
        told = [
            f"{what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for what, names in (
                ("missing", missing),
                ("unexpected", surplus),
                ("other shape", shapes),
            )
            if names
        ]
        raise CheckpointError(
            f"The checkpoint {path} is of another model ({'; '.join(told)}). "
            f"Build the model with the options that it was trained with, or delete {Path(path).parent} and train anew."
        ) from error


def load_best(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Load the weights of ``best.ckpt`` into ``model`` and return what is known about
    them.

    Returns:
        ``epoch``, ``score``, ``monitor``, ``classes``, ``task`` and ``identity`` of the
        checkpoint.
    """
    contents = read_checkpoint(path)
    load_model_weights(model, contents.pop("model"), path)
    return contents


def state_to_dict(state: State) -> dict[str, Any]:
    """Return ``state`` as plain numbers."""
    return asdict(state)


def state_from_dict(values: dict[str, Any]) -> State:
    """Return the state that `state_to_dict` made ``values`` from."""
    return State(**{field.name: values[field.name] for field in fields(State)})


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
