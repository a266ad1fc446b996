"""Windows of a recording: standardise, stack as model input, join probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ecgnb.core.errors import ReadError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised, standardise, standardise_windows
from ecgnb.deploy.bundle import Bundle
from ecgnb.evaluation.calibration import calibrated_probabilities
from ecgnb.evaluation.thresholds import decide

#: Seconds by which a recording may differ from what the model sees without a flag: a
#: sample or two at any rate.
TOLERANCE_S = 0.05


def windows_of(bundle: Bundle, recording: Recording) -> list[Standardised]:
    """Standardise a recording for a bundle: all of it in windows, or one crop.

    Raises:
        ReadError: the recording must not be used, or has another number of leads than
            the model, where the bundle names no leads.
    """
    if bundle.windowed:
        windows = standardise_windows(recording, bundle.prepare)
    else:
        windows = [standardise(recording, bundle.prepare)]
    n_leads = len(windows[0].signal)
    if n_leads != bundle.model.n_leads:
        raise ReadError(
            "leads",
            f"The recording has {n_leads} leads, the model takes "
            f"{bundle.model.n_leads}, and the bundle does not name them.",
        )
    return windows


def length_flags(
    bundle: Bundle, recording: Recording, windows: list[Standardised]
) -> list[str]:
    """Flag a recording that is longer or shorter than the model's input."""
    n_samples = len(windows) * bundle.prepare.target_samples
    seen_s = n_samples / bundle.prepare.target_fs
    surplus_s = recording.duration - seen_s
    if abs(surplus_s) < TOLERANCE_S:
        return []
    if surplus_s > 0 and bundle.windowed:
        return [f"tail_dropped:{surplus_s:.3g} s"]
    change = "cropped" if surplus_s > 0 else "padded"
    return [f"{change}:{recording.duration:.3g} s to {seen_s:g} s"]


def model_input(bundle: Bundle, *windows: Standardised) -> torch.Tensor:
    """Stack windows and transform them, on the model's device.

    Returns:
        ``[n_windows, n_leads, n_samples]``, float32 also for a model in lower
        precision, which casts it itself.
    """
    weight = next(bundle.model.parameters())
    device = weight.device
    signals = [window.signal for window in windows]
    signal = torch.from_numpy(np.stack(signals)).to(device)
    valid = torch.tensor([window.valid for window in windows], device=device)
    first, stop = valid.T[..., None]  # both [n_windows, 1]
    steps = torch.arange(signal.shape[-1], device=device)
    mask = (steps >= first) & (steps < stop)  # true where it was recorded, not padded
    x = bundle.transforms(signal, fs=bundle.prepare.target_fs, mask=mask)
    return x.to(torch.promote_types(weight.dtype, torch.float32))


def window_probabilities(bundle: Bundle, logits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities of logits, both ``[n_windows, n_classes]``.

    Raises:
        EcgnbError: a logit is NaN or infinite.
    """
    return calibrated_probabilities(
        logits, bundle.task, bundle.temperature, bundle.logit_offset
    )


def join_windows(bundle: Bundle, probabilities: np.ndarray) -> np.ndarray:
    """Join the probabilities of a recording's windows.

    Mean or maximum by ``bundle.aggregate``; classes that exclude each other are scaled
    to a sum of 1 afterwards.

    Args:
        bundle: the model.
        probabilities: ``[n_windows, n_classes]``.

    Returns:
        ``[n_classes]``.
    """
    if not bundle.aggregate:
        return probabilities[0]
    mean, largest = probabilities.mean(axis=0), probabilities.max(axis=0)
    joined = np.where(np.array(bundle.aggregate) == "max", largest, mean)
    if bundle.task == "multiclass":
        return joined / joined.sum()
    return joined


def called_classes(
    classes: tuple[str, ...], task: str, probabilities: np.ndarray, thresholds: Any
) -> list[str]:
    """Return the predicted class of each record, for multilabel all joined with ``|``.

    Args:
        classes: class names in the order of the columns.
        task: "multiclass" or "multilabel".
        probabilities: ``[n_records, n_classes]``.
        thresholds: one per class, for multilabel.
    """
    decisions = decide(probabilities, task, thresholds)
    if task == "multiclass":
        return [classes[number] for number in decisions]
    names = np.array(classes, dtype=object)
    return ["|".join(names[row.astype(bool)]) for row in decisions]
