"""Checkpoints: files from which a training resumes exactly.

A checkpoint is one file of tensors and plain numbers. It is written under a temporary
name and renamed, so it is complete or absent, and it is read with
``weights_only=True``, so nothing in it is ever executed. It ends with a checksum of all
its bytes, since PyTorch compares none of those in the zip file with the tensors.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecgnb.core.errors import CheckpointError, first_few
from ecgnb.core.files import atomic_write, sha256_file
from ecgnb.core.transient import refuse_transient

#: Written into each checkpoint; a change of the layout raises it.
FORMAT = 3

#: The checksum is the comment of the zip file (APPNOTE 4.3.16), which follows the
#: comment's length, two bytes, at the end of the file; other programs ignore it.
_COMMENT = b"ecgnb sha256 "
_COMMENT_BYTES = len(_COMMENT) + 64


def save_checkpoint(path: str | Path, contents: dict[str, Any]) -> None:
    """Write ``contents`` (tensors, numbers, texts, lists and dicts of them) as a
    checkpoint, atomically.
    """
    with atomic_write(path) as temporary:
        try:
            torch.save({"format": FORMAT, **contents}, temporary)
        except RuntimeError as error:  # PyTorch's error for an incomplete write
            raise OSError(f"it ended short ({_first_line(error)})") from error
        _append_checksum(temporary)


def _append_checksum(path: Path) -> None:
    with open(path, "rb+") as file:
        file.seek(-2, os.SEEK_END)
        file.write(_COMMENT_BYTES.to_bytes(2, "little"))
    digest = sha256_file(path)
    with open(path, "ab") as file:
        file.write(_COMMENT + digest.encode())


def _require_checksum(path: Path) -> None:
    """Compare a checkpoint with the checksum at its end; 0.7 s per GB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        remaining = max(os.fstat(file.fileno()).st_size - _COMMENT_BYTES, 0)
        while remaining and (block := file.read(min(remaining, 1 << 20))):  # 1 MiB
            digest.update(block)
            remaining -= len(block)
        comment = file.read()
    if comment != _COMMENT + digest.hexdigest().encode():
        raise CheckpointError(
            f"The checkpoint {path} is damaged and cannot be read (its checksum "
            f"differs). {_damaged(path)}"
        )


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
        refuse_transient(error, path)
        raise CheckpointError(
            f"The checkpoint {path} is damaged and cannot be read "
            f"({type(error).__name__}: {_first_line(error)}). {_damaged(path)}"
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
    _require_checksum(path)
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


def _damaged(path: Path) -> str:
    return (
        "It was complete when it was written, so something changed it since. Put a "
        f"copy back, or delete {path.parent} and train anew."
    )


def _first_line(error: Exception) -> str:
    text = str(error)
    return text.splitlines()[0][:200] if text else ""
