"""What an inference tells about itself: which model, how signals were prepared, and on what machine."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
from datetime import datetime, timezone
from typing import Any

import torch

from ecgnb.deploy.bundle import Bundle
from ecgnb.environment import PACKAGES, package_version
from ecgnb.files import fingerprint
from ecgnb.models.base import Backbone


def inference_record(bundle: Bundle) -> dict[str, Any]:
    """Return what is the same for every recording: time, model, recipe, device, precision and versions."""
    weight = next(bundle.model.parameters())
    return {
        "utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {"name": bundle.model.spec()["name"], "fingerprint": model_fingerprint(bundle.model)},
        "provenance": bundle.provenance,
        "recipe": {
            "prepare": dataclasses.asdict(bundle.prepare),
            "transforms": bundle.transforms.specs(),
            "temperature": bundle.temperature,
            "aggregate": bundle.aggregate,
            "thresholds": bundle.thresholds,
        },
        "device": str(weight.device),
        "precision": "float64" if weight.dtype == torch.float64 else bundle.precision,
        "versions": {"python": platform.python_version()} | {name: package_version(name) for name in PACKAGES},
    }


def model_fingerprint(model: Backbone) -> str:
    """Return the SHA-256 of a model's specification and of all its weights and buffers, as hex digits.

    It is the same wherever the model lies: in a bundle, in memory, on any device.
    """
    digest = hashlib.sha256(fingerprint(model.spec(), 64).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has held so far, in MB; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
