"""Predictions for recordings that are not part of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgnb.data.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.standardise import PrepareConfig, Standardised, standardise
from ecgnb.deploy.bundle import Bundle
from ecgnb.errors import ReadError
from ecgnb.evaluation.calibration import apply_temperature, probabilities_from_logits
from ecgnb.evaluation.thresholds import decide
from ecgnb.progress import progress

Source = str | Path | Recording


def predict(bundle: Bundle, sources: Source | Iterable[Source], **reading: Any) -> pd.DataFrame:
    """Predict one or many recordings.

    Each goes the way of the training data: read, brought to the bundle's rate, length and leads, transformed. One
    that cannot be used keeps its row, with the reason in ``problem`` and no probabilities.

    Args:
        bundle: the trained model.
        sources: a file, a `Recording`, or many of them.
        **reading: passed to `read_recording`, such as ``fs=500`` for a CSV file that does not state its rate.

    Returns:
        A row a recording: ``record_id, prediction``, a probability column a class, ``seconds`` (of the recording that
        the model saw), ``flags`` (what is doubtful) and ``problem``.

    Raises:
        ReadError: a single recording was given and cannot be used.
    """
    single = isinstance(sources, str | Path | Recording)
    listed: list[Source] = [sources] if single else list(sources)  # type: ignore[arg-type,list-item]
    rows = []
    for source in progress(listed, title="recordings"):
        try:
            rows.append(_predict_one(bundle, source, reading))
        except ReadError as error:
            if single:
                raise
            name = source.record_id if isinstance(source, Recording) else Path(source).stem
            rows.append({"record_id": name, "prediction": "", "problem": str(error)})
    columns = ["record_id", "prediction", *bundle.classes, "seconds", "flags", "problem"]
    return pd.DataFrame(rows, columns=columns)


def called_classes(bundle_classes: tuple[str, ...], task: str, probabilities: np.ndarray, thresholds: Any) -> list[str]:
    """Name what is called for each record ``[n, n_classes]``: one class, or for multilabel all, joined with ``|``."""
    decisions = decide(probabilities, task, thresholds)
    if task == "multiclass":
        return [bundle_classes[number] for number in decisions]
    return ["|".join(name for name, called in zip(bundle_classes, row, strict=True) if called) for row in decisions]


def _predict_one(bundle: Bundle, source: Source, reading: dict[str, Any]) -> dict[str, Any]:
    recording = source if isinstance(source, Recording) else read_recording(source, **reading)
    ready = standardise(recording, bundle.prepare)
    probabilities = _probabilities(bundle, ready)
    first, last = ready.valid
    return {
        "record_id": recording.record_id,
        "prediction": called_classes(bundle.classes, bundle.task, probabilities, bundle.thresholds)[0],
        **dict(zip(bundle.classes, probabilities[0].tolist(), strict=True)),
        "seconds": (last - first) / bundle.prepare.target_fs,
        "flags": ";".join([*ready.flags, *_length_flags(recording, bundle.prepare)]),
        "problem": "",
    }


def _length_flags(recording: Recording, prepare: PrepareConfig) -> list[str]:
    """Flag a recording that is longer or shorter than what the model sees."""
    seen = prepare.target_samples / prepare.target_fs
    if abs(recording.duration - seen) < 0.05:
        return []
    return [f"{'cropped' if recording.duration > seen else 'padded'}:{recording.duration:.3g} s to {seen:g} s"]


def model_input(bundle: Bundle, ready: Standardised) -> torch.Tensor:
    """Return what the model sees of a standardised recording, ``[1, n_leads, n_samples]``: its transforms are done."""
    signal = torch.from_numpy(ready.signal)[None]
    mask = torch.zeros(1, signal.shape[-1], dtype=torch.bool)
    mask[:, ready.valid[0] : ready.valid[1]] = True
    return bundle.transforms(signal, fs=bundle.prepare.target_fs, mask=mask)


@torch.inference_mode()
def _probabilities(bundle: Bundle, ready: Standardised) -> np.ndarray:
    logits = bundle.model(model_input(bundle, ready))
    calibrated = apply_temperature(logits.double().numpy(), bundle.temperature)
    return probabilities_from_logits(calibrated, bundle.task)
