"""What a bundle's model sees of a recording: one crop of it, or all of it in windows;
and the tensor made of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ecgnb.core.errors import ConfigError, ReadError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised, standardise, standardise_windows
from ecgnb.deploy.bundle import Bundle
from ecgnb.evaluation.calibration import apply_temperature, probabilities_from_logits
from ecgnb.evaluation.thresholds import decide

#: Seconds by which a recording may differ from what the model sees of it, unflagged: a
#: sample or two at any rate.
TOLERANCE_S = 0.05


def windows_of(bundle: Bundle, recording: Recording) -> list[Standardised]:
    """Standardise a recording as a bundle wants it: whole and in windows where it joins
    them, else as one crop.

    Raises:
        ReadError: the recording must not be used, or has another number of leads than
            the model, where the bundle names no leads.
    """
    if bundle.windowed:
        windows = standardise_windows(recording, bundle.prepare)
    else:
        windows = [standardise(recording, bundle.prepare)]
    found, wanted = len(windows[0].signal), bundle.model.n_leads
    if found != wanted:
        raise ReadError(
            "leads",
            f"The recording has {found} leads, the model takes {wanted}, and the bundle does not name them.",
        )
    return windows


def seconds_of(bundle: Bundle, windows: list[Standardised]) -> float:
    """Return how much of a recording the model saw."""
    return (
        sum(window.valid[1] - window.valid[0] for window in windows)
        / bundle.prepare.target_fs
    )


def length_flags(
    bundle: Bundle, recording: Recording, windows: list[Standardised]
) -> list[str]:
    """Flag a recording that is longer or shorter than what the model sees."""
    seen = len(windows) * bundle.prepare.target_samples / bundle.prepare.target_fs
    surplus = recording.duration - seen
    if abs(surplus) < TOLERANCE_S:
        return []
    if surplus > 0 and bundle.windowed:
        return [f"tail_dropped:{surplus:.3g} s"]
    return [
        f"{'cropped' if surplus > 0 else 'padded'}:{recording.duration:.3g} s to {seen:g} s"
    ]


def model_input(bundle: Bundle, *windows: Standardised) -> torch.Tensor:
    """Return what the model sees of standardised recordings or windows: transformed,
    and on its device.

    Returns:
        ``[n_windows, n_leads, n_samples]``, float32 also for a model in lower
        precision, which casts it itself.
    """
    weight = next(bundle.model.parameters())
    signal = torch.from_numpy(np.stack([window.signal for window in windows])).to(
        weight.device
    )
    steps = torch.arange(signal.shape[-1], device=weight.device)
    first, stop = torch.tensor(
        [window.valid for window in windows], device=weight.device
    ).T[..., None]
    mask = (steps >= first) & (steps < stop)
    return bundle.transforms(signal, fs=bundle.prepare.target_fs, mask=mask).to(
        torch.promote_types(weight.dtype, torch.float32)
    )


def window_probabilities(bundle: Bundle, logits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities of logits, both ``[n_windows, n_classes]``.

    Raises:
        EcgnbError: a logit is NaN or infinite.
    """
    return probabilities_from_logits(
        apply_temperature(logits, bundle.temperature), bundle.task
    )


def join_windows(bundle: Bundle, probabilities: np.ndarray) -> np.ndarray:
    """Join the probabilities of a recording's windows ``[n_windows, n_classes]`` to its
    own, ``[n_classes]``.

    Each class takes the mean or the maximum, as the bundle says; classes that exclude
    each other are scaled to a sum of 1 afterwards.
    """
    if not bundle.aggregate:
        return probabilities[0]
    rules = np.array(bundle.aggregate)
    joined = np.where(
        rules == "max", probabilities.max(axis=0), probabilities.mean(axis=0)
    )
    return joined / joined.sum() if bundle.task == "multiclass" else joined


def called_classes(
    bundle_classes: tuple[str, ...],
    task: str,
    probabilities: np.ndarray,
    thresholds: Any,
) -> list[str]:
    """Name what is called for each record ``[n, n_classes]``: one class, or for multilabel all, joined with ``|``."""
    decisions = decide(probabilities, task, thresholds)
    if task == "multiclass":
        return [bundle_classes[number] for number in decisions]
    return [
        "|".join(
            name for name, called in zip(bundle_classes, row, strict=True) if called
        )
        for row in decisions
    ]


def require_classes(bundle: Bundle) -> None:
    """Refuse a pretrained model, which calls no classes, with a `ConfigError`."""
    if not bundle.classes:
        raise ConfigError(
            "This model is pretrained and has no classifier, so it predicts nothing. It gives embeddings: "
            "`ecgnb predict --embeddings --out FOLDER`, or ecgnb.infer_recordings(files, run=..., embeddings=True)."
        )
