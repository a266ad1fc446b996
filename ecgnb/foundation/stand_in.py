"""Write ECG-FM checkpoints with random weights, for examples, tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ecgnb.core.files import atomic_write
from ecgnb.foundation.ecg_fm_checkpoint import FS, LEADS, N_SAMPLES
from ecgnb.foundation.ecg_fm_names import original_name
from ecgnb.models.ecg_fm import EcgFM

#: A model that trains on a CPU in minutes: 0.2 million parameters.
SMALL: dict[str, Any] = {
    "dim": 64,
    "depth": 2,
    "n_heads": 4,
    "ffn": 128,
    "conv_layers": ((32, 2, 2),) * 4,
}


def stand_in(
    path: str | Path,
    *,
    n_classes: int = 0,
    seed: int = 0,
    optimizer: bool = True,
    **options: Any,
) -> Path:
    """Write a checkpoint with random weights in the layout of fairseq-signals.

    Args:
        path: the file.
        n_classes: labels of a fine-tuned model; 0 writes a pretrained one.
        seed: of the weights.
        optimizer: whether to write the two moments of Adam, which make the file three
            times as large.
        **options: of `EcgFM`, such as ``**SMALL``; by default the published size.
    """
    if not n_classes:
        options.setdefault("codebook", (2, 320, 256))  # of the published model
    with torch.random.fork_rng(devices=[]):  # the caller's generator is unchanged
        torch.manual_seed(seed)
        model = EcgFM(
            n_leads=12,
            n_samples=N_SAMPLES,
            fs=FS,
            leads=LEADS,
            n_classes=n_classes,
            **options,
        )
    return write_checkpoint(path, model, optimizer=optimizer)


def small_stand_in(path: str | Path) -> Path:
    """Write a small pretrained checkpoint with random weights, if there is none."""
    path = Path(path)
    return path if path.is_file() else stand_in(path, **SMALL)


def write_checkpoint(
    path: str | Path, model: EcgFM, *, optimizer: bool = False
) -> Path:
    """Write a model in the original's layout, names and configuration."""
    path = Path(path)
    weights = {}
    for name, tensor in model.state_dict().items():
        weights[original_name(name, model.n_classes > 0)] = tensor
    contents: dict[str, Any] = {
        "args": None,
        "cfg": {"_name": None, "model": _config(model)},
        "model": weights,
        "criterion": None,
        "optimizer_history": [],
        "task_state": {},
        "extra_state": {"metrics": {}, "previous_training_time": 0.0},
    }
    if optimizer:
        state = {}
        for index, tensor in enumerate(weights.values()):
            state[index] = {
                "exp_avg": torch.zeros_like(tensor),
                "exp_avg_sq": torch.zeros_like(tensor),
            }
        contents["last_optimizer_state"] = {"state": state, "param_groups": []}
    with atomic_write(path) as temporary:
        torch.save(contents, temporary)
    return path


def _config(model: EcgFM) -> dict[str, Any]:
    options = model.spec()
    layers = " + ".join(f"[{tuple(layer)}]" for layer in options["conv_layers"])
    name, head = "wav2vec2_cmsc", {}
    if model.n_classes:
        name, head = "ecg_transformer_classifier", {"num_labels": model.n_classes}
    return {
        "_name": name,
        "normalize": False,
        "filter": False,
        "encoder_layers": options["depth"],
        "encoder_embed_dim": options["dim"],
        "encoder_ffn_embed_dim": options["ffn"],
        "encoder_attention_heads": options["n_heads"],
        "layer_norm_first": options["norm_first"],
        "dropout": options["dropout"],
        "attention_dropout": options["attention_dropout"],
        "activation_dropout": options["activation_dropout"],
        "extractor_mode": "default",
        "in_d": model.n_leads,
        "conv_bias": options["conv_bias"],
        "conv_feature_layers": layers,
        "conv_pos": options["position_kernel"],
        "conv_pos_groups": options["position_groups"],
        **head,
    }
