"""Run a bundle over recordings in batches: predictions, windows, embeddings.

`predict_recordings` returns the table alone, `infer` everything with a record of how it
was done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgnb.core.environment import PACKAGES, package_version
from ecgnb.core.errors import ConfigError, EcgnbError, ReadError
from ecgnb.core.files import (
    atomic_write,
    fingerprint,
    remove_file,
    remove_leftovers,
    write_csv,
    write_json,
)
from ecgnb.core.progress import progress
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.windows import (
    called_classes,
    join_windows,
    length_flags,
    model_input,
    window_probabilities,
    windows_of,
)
from ecgnb.models.base import Backbone

Source = str | Path | Recording

BATCH_SIZE = 32
#: Files of `Inference.save`, in the order in which they are removed.
INFERENCE_FILES = (
    "inference.json",
    "predictions.csv",
    "predictions.json",
    "windows.csv",
    "embeddings.npy",
)


@dataclass(frozen=True, eq=False)
class Inference:
    """Outputs of a model for recordings.

    Attributes:
        table: one row per recording: ``record_id, prediction``, one probability column
            per class, ``seconds`` (of the recording that the model saw), ``flags``
            (what is doubtful) and ``problem``. Without a classifier the columns
            ``prediction`` and of the classes are absent.
        windows: one row per window of a usable recording, in the order of the
            recordings: ``record_id, window`` (from 0), ``start_s, end_s`` (in the
            recording), one probability column per class.
        embeddings: float32 ``[n_windows, D]``, one row per row of ``windows``; ``None``
            where they were not requested.
        record: what is needed to repeat it, and how long it took; plain values.
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    embeddings: np.ndarray | None
    record: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write tables, embeddings and record.

        Files ``predictions.csv``, ``predictions.json``, ``windows.csv``,
        ``embeddings.npy`` and, last, ``inference.json``. Those of an earlier inference
        are removed first, its ``inference.json`` before all others, so that a folder
        never has files of two inferences, wherever the writer is killed.
        """
        folder = Path(folder)
        for name in INFERENCE_FILES:
            remove_file(folder / name)
        remove_leftovers(folder, below=False)
        write_csv(folder / "predictions.csv", self.table)
        write_json(folder / "predictions.json", self.table.to_dict("records"))
        write_csv(folder / "windows.csv", self.windows)
        if self.embeddings is not None:
            with atomic_write(folder / "embeddings.npy") as temporary:
                np.save(temporary, self.embeddings, allow_pickle=False)
        write_json(folder / "inference.json", self.record)
        return folder


def predict_recordings(
    bundle: Bundle, sources: Source | Iterable[Source], **reading: Any
) -> pd.DataFrame:
    """Predict recordings, each in batches of its own.

    The outputs for a recording are thus the same to the bit whatever else is predicted.

    Args:
        bundle: the trained model.
        sources: a file, a `Recording`, or many of them.
        **reading: passed to `read_recording`, such as ``fs=500`` for a CSV file that
            does not state its rate.

    Returns:
        One row per recording, see `Inference`.

    Raises:
        ReadError: a single recording was given and cannot be used.
        ConfigError: the model has no classifier.
    """
    if not bundle.classes:
        raise ConfigError(
            "This model is pretrained and has no classifier, so it predicts nothing. "
            "It gives embeddings: `ecgnb predict --embeddings --out FOLDER`, or "
            "ecgnb.infer_recordings(files, run=..., embeddings=True)."
        )
    return _run(bundle, sources, None, False, reading).table


def infer(
    bundle: Bundle,
    sources: Source | Iterable[Source],
    *,
    embeddings: bool = False,
    batch_size: int = BATCH_SIZE,
    **reading: Any,
) -> Inference:
    """Run a model over one or many recordings, windows of several in one batch.

    Each is prepared as the training data was: read, brought to the bundle's rate,
    length and leads, transformed. One that cannot be used keeps its row in the table,
    with the reason in ``problem``. Outputs do not depend on the other recordings in the
    batch, except for the rounding of float32.

    Args:
        bundle: the model; it runs on its device (``bundle.model.to("cuda")``) and in
            its precision.
        sources: a file, a `Recording`, or many of them.
        embeddings: whether to return the vector that the classifier sees, for each
            window; a model without a classifier always does.
        batch_size: windows at a time.
        **reading: passed to `read_recording`, such as ``fs=500`` for a CSV file that
            does not state its rate.

    Raises:
        ReadError: a single recording was given and cannot be used.
        ConfigError: the batch size is not positive.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; give 1 or more windows.")
    inference = _run(bundle, sources, batch_size, embeddings, reading)
    seconds = inference.record["seconds"]
    total, n_windows = sum(seconds.values()), len(inference.windows)
    record = inference_record(bundle) | {
        "batch_size": batch_size,
        "recordings": len(inference.table),
        "problems": int((inference.table["problem"] != "").sum()),
        "windows": n_windows,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "windows_per_second": round(n_windows / total, 2) if total else None,
        "peak_memory_mb": peak_memory_mb(),
    }
    return dataclasses.replace(inference, record=record)


def _run(
    bundle: Bundle,
    sources: Source | Iterable[Source],
    batch_size: int | None,
    embeddings: bool,
    reading: dict[str, Any],
) -> Inference:
    """Run the model; the record has only the seconds spent ``reading`` and in it.

    Without ``batch_size`` no two recordings share a batch.
    """
    single = isinstance(sources, str | Path | Recording)
    listed = list_sources(sources)
    batches = _Batches(bundle, batch_size or BATCH_SIZE, embeddings)
    names = _record_names(listed)
    rows: list[_Row] = []
    reading_s = 0.0
    for source, name in zip(progress(listed, title="recordings"), names, strict=True):
        started = time.perf_counter()
        try:
            row, windows = _read(bundle, source, name, reading)
        except ReadError as error:
            if single:
                raise
            row, windows = _Row(name, problem=str(error)), []
        reading_s += time.perf_counter() - started
        rows.append(row)
        for window in windows:
            batches.add(window)
        if batch_size is None:
            batches.run()
    batches.run()
    inference = _collect(bundle, rows, batches, single)
    inference.record["seconds"] = {"reading": reading_s, "model": batches.seconds}
    return inference


def list_sources(sources: Source | Iterable[Source]) -> list[Source]:
    """Return one recording or many as a list."""
    if isinstance(sources, str | Path | Recording):
        return [sources]
    return list(sources)


def _record_names(sources: Sequence[Source]) -> list[str]:
    """Return the recordings' names: their own, or those of their files.

    Files of one name, such as an ``ecg.hea`` in each folder, are named by their paths.
    """
    paths = {Path(source) for source in sources if not isinstance(source, Recording)}
    counts = Counter(path.stem for path in paths)
    names = []
    for source in sources:
        if isinstance(source, Recording):
            names.append(source.record_id)
            continue
        path = Path(source)
        names.append(path.stem if counts[path.stem] == 1 else path.as_posix())
    return names


@dataclass(frozen=True)
class _Row:
    """A recording before the model has seen it; spans of its windows in seconds."""

    record_id: str
    spans: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    flags: str = ""
    problem: str = ""


def _read(
    bundle: Bundle, source: Source, name: str, reading: dict[str, Any]
) -> tuple[_Row, list[Standardised]]:
    recording = source
    if not isinstance(recording, Recording):
        recording = read_recording(recording, **{"record_id": name, **reading})
    windows = windows_of(bundle, recording)
    fs = bundle.prepare.target_fs
    n_samples, spans = 0, []
    for window in windows:
        first, stop = window.valid  # samples of the window that are not padding
        n_samples += stop - first
        end = window.start + stop - first  # in the recording
        spans.append((window.start / fs, end / fs))
    flags = [*windows[0].flags, *length_flags(bundle, recording, windows)]
    row = _Row(
        record_id=recording.record_id,
        spans=tuple(spans),
        seconds=n_samples / fs,
        flags=";".join(flags),
    )
    return row, windows


class _Batches:
    """Collects windows into batches and keeps the outputs in order of the windows."""

    def __init__(self, bundle: Bundle, batch_size: int, embeddings: bool) -> None:
        self.bundle = bundle
        self.batch_size = batch_size
        self.embeddings = embeddings or not bundle.classes
        self.waiting: list[Standardised] = []
        self.logits = [np.empty((0, len(bundle.classes)))]
        self.embedded: list[np.ndarray] = []
        self.seconds = 0.0

    def add(self, window: Standardised) -> None:
        """Add a window; run the model when the batch is full."""
        self.waiting.append(window)
        if len(self.waiting) == self.batch_size:
            self.run()

    @torch.inference_mode()
    def run(self) -> None:
        """Run the model over the windows that wait."""
        if not self.waiting:
            return
        started = time.perf_counter()
        model = self.bundle.model
        x = model_input(self.bundle, *self.waiting)
        if self.embeddings:
            features = model.forward_features(x)
            embedded = model.head.embed(features)  # type: ignore[operator]
            self.embedded.append(embedded.float().cpu().numpy())
            logits = x.new_empty(len(x), 0)
            if self.bundle.classes:
                logits = model.head(features)
        else:
            logits = model(x)
        self.logits.append(logits.cpu().double().numpy())
        self.waiting = []
        self.seconds += time.perf_counter() - started


def _collect(
    bundle: Bundle, rows: Sequence[_Row], batches: _Batches, single: bool
) -> Inference:
    """Assign the outputs to recordings; turn logits into probabilities and classes."""
    logits = np.concatenate(batches.logits)  # [n_windows, n_classes]
    embedded = np.empty((len(logits), 0), np.float32)
    if batches.embedded:
        embedded = np.concatenate(batches.embedded)  # [n_windows, D]
    table: list[dict[str, Any]] = []
    windows: list[list[Any]] = []
    usable = np.zeros(len(logits), dtype=bool)
    stop = 0
    for row in rows:
        first, stop = stop, stop + len(row.spans)
        own = slice(first, stop)
        problem = row.problem
        if not np.isfinite(logits[own]).all() or not np.isfinite(embedded[own]).all():
            problem = (
                "The model's output for this recording is NaN or infinite. Look at the "
                "training loss, whether the model has diverged, and at the recording's "
                "amplitudes."
            )
            if single:
                raise EcgnbError(problem)
        entry: dict[str, Any] = {"record_id": row.record_id, "problem": problem}
        table.append(entry)
        if problem:
            entry["prediction"] = ""
            continue
        usable[own] = True
        entry.update(seconds=row.seconds, flags=row.flags)
        probabilities = logits[own]
        if bundle.classes:
            probabilities = window_probabilities(bundle, probabilities)
            entry.update(_predict(bundle, join_windows(bundle, probabilities)))
        for number, span in enumerate(row.spans):
            values = probabilities[number].tolist()
            windows.append([row.record_id, number, *span, *values])
    prediction = ["prediction"] if bundle.classes else []
    columns = ["record_id", *prediction, *bundle.classes]
    window_columns = ["record_id", "window", "start_s", "end_s", *bundle.classes]
    return Inference(
        pd.DataFrame(table, columns=[*columns, "seconds", "flags", "problem"]),
        pd.DataFrame(windows, columns=window_columns),
        embedded[usable] if batches.embeddings else None,
        {},
    )


def _predict(bundle: Bundle, probabilities: np.ndarray) -> dict[str, Any]:
    """Return prediction and probabilities of a recording by column."""
    (called,) = called_classes(
        bundle.classes, bundle.task, probabilities[None], bundle.thresholds
    )
    by_class = dict(zip(bundle.classes, probabilities.tolist(), strict=True))
    return {"prediction": called, **by_class}


def inference_record(bundle: Bundle) -> dict[str, Any]:
    """Return model, preparation, device, precision, versions and the time (UTC)."""
    weight = next(bundle.model.parameters())
    versions = {name: package_version(name) for name in PACKAGES}
    return {
        "utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {
            "name": bundle.model.spec()["name"],
            "fingerprint": model_fingerprint(bundle.model),
        },
        "provenance": bundle.provenance,
        "recipe": {
            "prepare": dataclasses.asdict(bundle.prepare),
            "transforms": bundle.transforms.specs(),
            "temperature": bundle.temperature,
            "logit_offset": bundle.logit_offset,
            "aggregate": bundle.aggregate,
            "thresholds": bundle.thresholds,
        },
        "device": str(weight.device),
        "precision": "float64" if weight.dtype == torch.float64 else bundle.precision,
        "versions": {"python": platform.python_version(), **versions},
    }


def model_fingerprint(model: Backbone) -> str:
    """Return the SHA-256 of a model's specification, weights and buffers (hex).

    It is the same in a bundle, in memory and on any device.
    """
    digest = hashlib.sha256(fingerprint(model.spec(), 64).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def peak_memory_mb() -> float | None:
    """Return the peak memory of this process in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, else KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * unit / 1e6, 1)
