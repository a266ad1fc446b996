"""`load_ecg_fm`: a published ECG-FM checkpoint as a model, with nothing but PyTorch,
NumPy and safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.container import Checkpoint, open_checkpoint
from ecgnb.checkpoints.plain import plain
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.checkpoints.inspection import Inspection, inspect_checkpoint
from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.foundation.ecg_fm_config import architecture
from ecgnb.foundation.ecg_fm_names import ENCODER, is_fine_tuned, original_name, renamed
from ecgnb.models.base import keep_freed_memory
from ecgnb.models.ecg_fm import EcgFM

#: What the published models have learnt from: 5 s at 500 Hz (Hz, samples).
FS, N_SAMPLES = 500.0, 2500
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_TOLD = 5


@dataclass(frozen=True)
class Origin:
    """Where the weights of a model came from.

    Attributes:
        file: name of the checkpoint.
        repository: on the hub, else empty.
        revision: the commit there, else empty.
        config: what the checkpoint's configuration says of the model.
    """

    file: str
    repository: str
    revision: str
    config: dict[str, Any]


def load_ecg_fm(
    path_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> EcgFM:
    """Load an ECG-FM checkpoint, pretrained or fine-tuned.

    The weights of a checkpoint of PyTorch 1.6 or newer are mapped into memory: they
    take no more than their own size; the file must stay as it is while the model lives.
    Nothing in the file is executed, whatever it holds.

    Args:
        path_or_hub_id: a local file, or ``"owner/repository/file.pt"`` on the Hugging
            Face hub (extra ``hub``), such as
            ``"wanglab/ecg-fm/physionet_finetuned.pt"``; without a file, the only
            checkpoint of the repository.
        revision: commit, tag or branch on the hub. A commit pins the weights for good.
        config: keys of the trainer's ``cfg.model`` for a file that has none; what the
            file says cannot be overruled.

    Returns:
        The model in evaluation mode. ``model(x)`` gives the logits of a fine-tuned one,
        ``model.embed(x)`` embeddings and ``model.codes(x)`` the codes of a pretrained
        one; ``model.origin`` tells where it came from. Signals are float32 ``[B, 12,
        T]``, prepared as `ecgnb.foundation.recipe` says.

    Raises:
        CheckpointError: the file is missing or damaged, or holds another model; a
            tensor is missing, unexpected or of another shape; the architecture is not
            told in full.
        ConfigError: there is no such repository or revision on the hub.
        MissingExtraError: a hub name was given and huggingface-hub is not installed.

    >>> model = load_ecg_fm("physionet_finetuned.pt")  # doctest: +SKIP
    >>> model(torch.zeros(1, 12, 2500)).sigmoid()      # doctest: +SKIP
    """
    path, repository, commit = _located(path_or_hub_id, revision)
    checkpoint = open_checkpoint(path)
    tensors, theirs_of = _named_weights(checkpoint)
    shapes = {ours: tensors[theirs].shape for ours, theirs in theirs_of.items()}
    told = _merged(_config(checkpoint.contents), config)
    options = architecture(shapes, told)
    keep_freed_memory()
    with torch.device("meta"):
        model = EcgFM(n_samples=N_SAMPLES, fs=FS, leads=LEADS if options["n_leads"] == len(LEADS) else (),
                      task="multilabel", **options)  # fmt: skip
    _check_shapes(model, shapes, theirs_of, path)
    with torch.inference_mode(
        False
    ):  # so that it can be trained, wherever it is loaded
        state = {
            ours: _float32(checkpoint, tensors[theirs], theirs)
            for ours, theirs in theirs_of.items()
        }
        model.load_state_dict(state, strict=True, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
    object.__setattr__(
        model, "origin", Origin(path.name, repository, commit, dict(told))
    )
    return model.eval()


def inspect_model(
    path_or_hub_id: str | Path, revision: str | None = None
) -> Inspection:
    """Show what is in a checkpoint, here or on the hub, and which model it is; see
    `ecgnb.checkpoints.inspection`.

    Args:
        path_or_hub_id: as for `load_ecg_fm`.
        revision: as for `load_ecg_fm`.

    Raises:
        CheckpointError: the file is missing or damaged, or no checkpoint.
    """
    path, _, _ = _located(path_or_hub_id, revision)
    return replace(inspect_checkpoint(path), known_as=_known_as(open_checkpoint(path)))


def _known_as(checkpoint: Checkpoint) -> str:
    try:
        tensors, theirs_of = _named_weights(checkpoint)
        shapes = {ours: tensors[theirs].shape for ours, theirs in theirs_of.items()}
        options = architecture(shapes, _config(checkpoint.contents))
    except CheckpointError as error:
        return f"none that load_ecg_fm knows: {error}"
    kind = (
        f"fine-tuned, {options['n_classes']} outputs"
        if options["n_classes"]
        else "pretrained, no classifier"
    )
    return f"ECG-FM, {kind}, {options['depth']} layers of width {options['dim']}; load_ecg_fm loads it"


def _located(name: str | Path, revision: str | None) -> tuple[Path, str, str]:
    """Return the file, and the repository and commit on the hub where it came from
    there.
    """
    from ecgnb.hub.huggingface import fetch, is_hub_name

    if not is_hub_name(str(name)):
        if revision is not None:
            raise ConfigError(
                f"revision={revision!r} is for names on the hub; {name} is a file here."
            )
        return Path(name), "", ""
    fetched = fetch(str(name), revision)
    return fetched.path, fetched.repository, fetched.revision


def _named_weights(
    checkpoint: Checkpoint,
) -> tuple[dict[str, TensorRef], dict[str, str]]:
    """Return the model's tensors under the trainer's names, and these by ours."""
    tensors = _weights(checkpoint)
    if is_fine_tuned(tensors):
        tensors.pop(
            ENCODER + "mask_emb", None
        )  # left from a fine-tuning that hid tokens; no prediction uses it
    theirs_of = {ours: theirs for theirs, ours in renamed(tensors).items()}
    _check_head(tensors, checkpoint.path)
    return tensors, theirs_of


def _weights(checkpoint: Checkpoint) -> dict[str, TensorRef]:
    """Return the trainer's ``model``, or the whole file where it is nothing but
    tensors.
    """
    contents = checkpoint.contents
    found = contents.get("model") if isinstance(contents, dict) else None
    if (
        found is None
        and isinstance(contents, dict)
        and all(isinstance(each, TensorRef) for each in contents.values())
    ):
        found = contents
    if not isinstance(found, dict) or not found:
        top = (
            ", ".join(map(str, contents))
            if isinstance(contents, dict)
            else type(contents).__name__
        )
        raise CheckpointError(
            f"{checkpoint.path} holds no model of fairseq-signals, which has its tensors under 'model'; it holds "
            f"{top[:200]}. `ecgnb checkpoint inspect` shows more."
        )
    other = [
        name
        for name, value in found.items()
        if not isinstance(name, str) or not isinstance(value, TensorRef)
    ]
    if other:
        told = ", ".join(map(str, other[:_TOLD]))
        raise CheckpointError(
            f"In {checkpoint.path}, 'model' holds {told}, which are no tensors."
        )
    return dict(found)


def _config(contents: Any) -> dict[str, Any]:
    """Return the trainer's configuration of the model: ``cfg.model``, or ``args`` of
    old files.
    """
    if not isinstance(contents, dict):
        return {}
    cfg = plain(contents.get("cfg"))
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        return dict(cfg["model"])
    args = plain(contents.get("args"))
    return dict(args) if isinstance(args, dict) else {}


def _merged(told: dict[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    for key, value in (given or {}).items():
        if told.get(key, value) != value:
            raise CheckpointError(
                f"config has {key}={value!r}, the checkpoint says {told[key]!r}. What the file says cannot be "
                "overruled; leave the key out."
            )
    return {**told, **(given or {})}


def _check_head(tensors: Mapping[str, TensorRef], path: Path) -> None:
    if is_fine_tuned(tensors) and "proj.weight" not in tensors:
        raise CheckpointError(
            f"{path} holds a fine-tuned model without its classifier: the tensor proj.weight is missing. Take the file "
            "from its source again; embeddings alone come from a pretrained checkpoint."
        )


def _check_shapes(
    model: EcgFM, shapes: Mapping[str, Any], theirs: Mapping[str, str], path: Path
) -> None:
    """Refuse a missing, an unexpected or a wrongly shaped tensor, and name it as the
    file does where it is there.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    faults = {
        "missing": [
            original_name(name, model.n_classes > 0)
            for name in own
            if name not in shapes
        ],
        "unexpected": [theirs[name] for name in shapes if name not in own],
        "of another shape": [
            f"{theirs[name]} {list(shape)} instead of {list(own[name])}"
            for name, shape in shapes.items()
            if name in own and tuple(shape) != own[name]
        ],
    }
    told = [
        f"{what}: {', '.join(names[:_TOLD])}{f' and {len(names) - _TOLD} more' if len(names) > _TOLD else ''}"
        for what, names in faults.items()
        if names
    ]
    if told:
        raise CheckpointError(
            f"The tensors in {path} are not those of an ECG-FM of this size: {'; '.join(told)}."
        )


def _float32(checkpoint: Checkpoint, ref: TensorRef, name: str) -> torch.Tensor:
    tensor = checkpoint.tensor(ref)
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"The tensor {name} in {checkpoint.path} is {tensor.dtype}; weights are floating point."
        )
    tensor = tensor.float().contiguous()
    if not bool(torch.isfinite(tensor.sum())) and not bool(
        torch.isfinite(tensor).all()
    ):
        raise CheckpointError(
            f"The tensor {name} in {checkpoint.path} holds NaN or infinity: the file is damaged."
        )
    return tensor
