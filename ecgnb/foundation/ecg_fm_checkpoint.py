"""Load a published ECG-FM checkpoint with PyTorch, NumPy and safetensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ecgnb.checkpoints.container import Checkpoint, open_checkpoint
from ecgnb.checkpoints.inspection import Inspection, inspect_checkpoint
from ecgnb.checkpoints.plain import plain
from ecgnb.checkpoints.tensor_refs import TensorRef
from ecgnb.core.errors import CheckpointError, ConfigError, first_few
from ecgnb.foundation.ecg_fm_config import architecture
from ecgnb.foundation.ecg_fm_names import ENCODER, is_fine_tuned, original_name, renamed
from ecgnb.hub.huggingface import fetch, is_hub_name
from ecgnb.models.base import keep_freed_memory
from ecgnb.models.ecg_fm import EcgFM

FS, N_SAMPLES = 500.0, 2500  # training windows of the published models: Hz, samples
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

#: By our names: the trainer's name and the tensor.
Weights = dict[str, tuple[str, TensorRef]]


@dataclass(frozen=True)
class Origin:
    """Source of a model's weights.

    Attributes:
        file: name of the checkpoint.
        repository: on the hub, else empty.
        revision: the commit there, else empty.
        config: the checkpoint's configuration of the model.
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

    The weights of a checkpoint of PyTorch 1.6 or newer are mapped into memory and take
    no more than their size; the file must not change while the model is in use. Nothing
    in the file is executed.

    Args:
        path_or_hub_id: a local file, or ``"owner/repository/file.pt"`` on the Hugging
            Face hub (extra ``hub``), such as
            ``"wanglab/ecg-fm/physionet_finetuned.pt"``; without a file, the only
            checkpoint of the repository.
        revision: commit, tag or branch on the hub. A commit pins the weights for good.
        config: keys of the trainer's ``cfg.model`` for a file that has none; keys of
            the file cannot be changed.

    Returns:
        The model in evaluation mode. ``model(x)`` gives the logits of a fine-tuned one,
        ``model.embed(x)`` embeddings and ``model.codes(x)`` the codes of a pretrained
        one; ``model.origin`` is its `Origin`. Signals are float32 ``[B, 12, T]``,
        prepared as by `ecgnb.foundation.recipe.ecg_fm_recipe`.

    Raises:
        CheckpointError: the file is missing or damaged, or of another model; a tensor
            is missing, unexpected or of another shape; the configuration is incomplete.
        ConfigError: there is no such repository or revision on the hub.
        MissingExtraError: a hub name was given and huggingface-hub is not installed.

    >>> model = load_ecg_fm("physionet_finetuned.pt")  # doctest: +SKIP
    >>> model(torch.zeros(1, 12, 2500)).sigmoid()      # doctest: +SKIP
    """
    path, repository, commit = _find_file(path_or_hub_id, revision)
    checkpoint = open_checkpoint(path)
    weights = _read_weights(checkpoint)
    merged = _merge(_read_config(checkpoint.contents), config or {})
    options = architecture(_shapes(weights), merged)
    # unknown for other numbers
    leads = LEADS if options["n_leads"] == len(LEADS) else ()
    keep_freed_memory()
    with torch.device("meta"):  # shapes without values
        model = EcgFM(
            n_samples=N_SAMPLES, fs=FS, leads=leads, task="multilabel", **options
        )
    _require_shapes(model, weights, path)
    with torch.inference_mode(False):  # inference tensors could not be trained
        state = {}
        for key, (name, ref) in weights.items():
            state[key] = _read_float32(checkpoint, ref, name)
        model.load_state_dict(state, strict=True, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
    origin = Origin(path.name, repository, commit, merged)
    object.__setattr__(model, "origin", origin)  # no attribute of nn.Module
    return model.eval()


def inspect_model(
    path_or_hub_id: str | Path, revision: str | None = None
) -> Inspection:
    """Inspect a checkpoint, local or on the hub, and recognise its model.

    See `ecgnb.checkpoints.inspection`.

    Args:
        path_or_hub_id: as for `load_ecg_fm`.
        revision: as for `load_ecg_fm`.

    Raises:
        CheckpointError: the file is missing or damaged, or no checkpoint.
    """
    path, _, _ = _find_file(path_or_hub_id, revision)
    return replace(inspect_checkpoint(path), known_as=_known_as(open_checkpoint(path)))


def _known_as(checkpoint: Checkpoint) -> str:
    try:
        weights = _read_weights(checkpoint)
        options = architecture(_shapes(weights), _read_config(checkpoint.contents))
    except CheckpointError as error:
        return f"none that load_ecg_fm knows: {error}"
    kind = "pretrained, no classifier"
    if options["n_classes"]:
        kind = f"fine-tuned, {options['n_classes']} outputs"
    return (
        f"ECG-FM, {kind}, {options['depth']} layers of width {options['dim']}; "
        "load_ecg_fm loads it"
    )


def _find_file(name: str | Path, revision: str | None) -> tuple[Path, str, str]:
    """Return the file, and its repository and commit if it is from the hub."""
    if is_hub_name(str(name)):
        fetched = fetch(str(name), revision)
        return fetched.path, fetched.repository, fetched.revision
    if revision is not None:
        raise ConfigError(
            f"revision={revision!r} is for names on the hub; {name} is a local file."
        )
    return Path(name), "", ""  # no repository, no commit


def _read_weights(checkpoint: Checkpoint) -> Weights:
    """Return the model's tensors by our names."""
    tensors = _find_tensors(checkpoint)
    fine_tuned = is_fine_tuned(tensors)
    if fine_tuned:  # left from a fine-tuning that masked tokens; nothing uses it
        tensors.pop(ENCODER + "mask_emb", None)
    names = renamed(tensors)
    if fine_tuned and "proj.weight" not in tensors:
        raise CheckpointError(
            f"{checkpoint.path} is a fine-tuned model without its classifier: the "
            "tensor proj.weight is missing. Take the file from its source again; "
            "embeddings alone come from a pretrained checkpoint."
        )
    return {key: (name, tensors[name]) for name, key in names.items()}


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {key: ref.shape for key, (_, ref) in weights.items()}


def _find_tensors(checkpoint: Checkpoint) -> dict[str, TensorRef]:
    """Return the trainer's ``model``, or the whole file if it is a state dict."""
    contents, path = checkpoint.contents, checkpoint.path
    tensors = None
    top = type(contents).__name__
    if isinstance(contents, dict):
        is_state_dict = "" in checkpoint.state_dicts()
        tensors = contents if is_state_dict else contents.get("model")
        top = ", ".join(map(str, contents))
    if not isinstance(tensors, dict) or not tensors:
        raise CheckpointError(
            f"{path} has no model of fairseq-signals, whose tensors are under 'model'; "
            f"it has {top[:200]}. `ecgnb checkpoint inspect` shows more."
        )
    other = []
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, TensorRef):
            other.append(name)
    if other:
        raise CheckpointError(
            f"In {path}, 'model' has {first_few(other)}, which are no tensors."
        )
    return dict(tensors)


def _read_config(contents: Any) -> dict[str, Any]:
    """Return the trainer's ``cfg.model``, or ``args`` of old files."""
    if not isinstance(contents, dict):
        return {}
    cfg = plain(contents.get("cfg"))
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        return dict(cfg["model"])
    args = plain(contents.get("args"))
    return dict(args) if isinstance(args, dict) else {}


def _merge(config: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in added.items():
        if config.get(key, value) != value:
            raise CheckpointError(
                f"config has {key}={value!r}, the checkpoint {config[key]!r}. Values "
                "in the file cannot be changed; leave the key out."
            )
    return {**config, **added}


def _require_shapes(model: EcgFM, weights: Weights, path: Path) -> None:
    """Refuse a missing, an unexpected or a wrongly shaped tensor."""
    expected = model.state_dict()  # on the meta device: shapes alone
    fine_tuned = model.n_classes > 0
    absent = [key for key in expected if key not in weights]
    missing = [original_name(key, fine_tuned) for key in absent]
    unexpected, reshaped = [], []
    for key, (name, ref) in weights.items():
        if key not in expected:
            unexpected.append(name)
        elif ref.shape != expected[key].shape:
            shapes = f"{list(ref.shape)} instead of {list(expected[key].shape)}"
            reshaped.append(f"{name} {shapes}")
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": reshaped,
    }
    texts = [f"{fault}: {first_few(names)}" for fault, names in faults.items() if names]
    if texts:
        raise CheckpointError(
            f"The tensors in {path} are not those of an ECG-FM of this size: "
            f"{'; '.join(texts)}."
        )


def _read_float32(checkpoint: Checkpoint, ref: TensorRef, name: str) -> torch.Tensor:
    tensor = checkpoint.tensor(ref)
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"The tensor {name} in {checkpoint.path} is {tensor.dtype}; weights are "
            "floating point."
        )
    tensor = tensor.float().contiguous()  # no copy of float32
    # The sum is the faster test; a finite tensor may also overflow it.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"The tensor {name} in {checkpoint.path} has NaN or infinity: the file is "
            "damaged."
        )
    return tensor
