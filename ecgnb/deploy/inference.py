"""`infer`: recordings through a model in batches; what it says of them and of their
windows, embeddings, a record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgnb.core.environment import PACKAGES, package_version
from ecgnb.core.errors import ConfigError, EcgnbError, ReadError
from ecgnb.core.files import atomic_write, fingerprint, write_csv, write_json
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
    seconds_of,
    window_probabilities,
    windows_of,
)
from ecgnb.models.base import Backbone


def inference_record(bundle: Bundle) -> dict[str, Any]:
    """Return what is the same for every recording: time, model, recipe, device,
    precision and versions.
    """
    weight = next(bundle.model.parameters())
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
            "aggregate": bundle.aggregate,
            "thresholds": bundle.thresholds,
        },
        "device": str(weight.device),
        "precision": "float64" if weight.dtype == torch.float64 else bundle.precision,
        "versions": {"python": platform.python_version()}
        | {name: package_version(name) for name in PACKAGES},
    }


def model_fingerprint(model: Backbone) -> str:
    """Return the SHA-256 of a model's specification and of all its weights and buffers,
    as hex digits.

    It is the same wherever the model lies: in a bundle, in memory, on any device.
    """
    digest = hashlib.sha256(fingerprint(model.spec(), 64).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        )
    return digest.hexdigest()


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has held so far, in MB; None on Windows,
    which does not tell.
    """
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


Source = str | Path | Recording

BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class Inference:
    """What a model made of recordings.

    Attributes:
        table: a row a recording, as `ecgnb.deploy.predict.predict` returns it; without
            a classifier the columns ``prediction`` and of the classes are absent.
        windows: a row a window that the model saw, in the order of the recordings:
            ``record_id, window`` (from 0), ``start_s, end_s`` (in the recording), a
            probability column a class. One that is no part of a usable recording is
            absent.
        embeddings: float32 ``[n_windows, D]``, a row a row of ``windows``; ``None``
            where nobody asked.
        record: what is needed to repeat it, and how long it took; plain values.
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    embeddings: np.ndarray | None
    record: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write ``predictions.csv``, ``predictions.json``, ``windows.csv``,
        ``embeddings.npy`` and ``inference.json``.

        The last comes last. Files of these names are replaced, so that a folder never
        holds those of two inferences.
        """
        folder = Path(folder)
        write_csv(folder / "predictions.csv", self.table)
        write_json(folder / "predictions.json", self.table.to_dict("records"))
        write_csv(folder / "windows.csv", self.windows)
        if self.embeddings is None:
            (folder / "embeddings.npy").unlink(missing_ok=True)
        else:
            with atomic_write(folder / "embeddings.npy") as temporary:
                np.save(temporary, self.embeddings, allow_pickle=False)
        write_json(folder / "inference.json", self.record)
        return folder


def infer(
    bundle: Bundle,
    sources: Source | Iterable[Source],
    *,
    embeddings: bool = False,
    batch_size: int = BATCH_SIZE,
    **reading: Any,
) -> Inference:
    """Run a model over one or many recordings, windows of several in one batch.

    Each goes the way of the training data: read, brought to the bundle's rate, length
    and leads, transformed. One that cannot be used keeps its row in the table, with the
    reason in ``problem``. What a recording gets does not depend on the others in its
    batch, but for the rounding of float32.

    Args:
        bundle: the model; it runs where it lies (``bundle.model.to("cuda")``) and in
            its own precision.
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
    answers = answer(
        bundle, sources, embeddings=embeddings, batch_size=batch_size, **reading
    )
    total = sum(answers.seconds.values())
    record = inference_record(bundle) | {
        "batch_size": batch_size,
        "recordings": len(answers.table),
        "problems": int((answers.table["problem"] != "").sum()),
        "windows": len(answers.windows),
        "seconds": {name: round(value, 4) for name, value in answers.seconds.items()},
        "windows_per_second": round(len(answers.windows) / total, 2) if total else None,
        "peak_memory_mb": peak_memory_mb(),
    }
    return Inference(answers.table, answers.windows, answers.embeddings, record)


@dataclass(frozen=True, eq=False)
class Answers:
    """An `Inference` before its record is written: ``seconds`` are those spent
    ``reading`` and in the ``model``.
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    embeddings: np.ndarray | None
    seconds: dict[str, float]


def answer(
    bundle: Bundle,
    sources: Source | Iterable[Source],
    *,
    embeddings: bool = False,
    batch_size: int | None = None,
    **reading: Any,
) -> Answers:
    """Do what `infer` does, without the record; see there.

    Without ``batch_size`` no two recordings share a batch, and what one gets is the
    same to the bit, whoever else is asked about.
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; give 1 or more windows.")
    single = isinstance(sources, str | Path | Recording)
    listed: list[Source] = [sources] if single else list(sources)  # type: ignore[arg-type,list-item]
    machine = _Machine(
        bundle, batch_size or BATCH_SIZE, embeddings or not bundle.classes
    )
    shared = _shared_names(listed)
    rows, read_s = [], 0.0
    for source in progress(listed, title="recordings"):
        started = time.perf_counter()
        try:
            row, windows = _read(bundle, source, _name(source, shared), reading)
        except ReadError as error:
            if single:
                raise
            row, windows = _Row(_name(source, shared), problem=str(error)), []
        read_s += time.perf_counter() - started
        rows.append(row)
        machine.take(windows)
        if batch_size is None:
            machine.run()
    machine.run()
    answers = _collected(bundle, rows, machine, single)
    answers.seconds.update(reading=read_s, model=machine.seconds)
    return answers


@dataclass(frozen=True)
class _Row:
    """What is known of a recording before the model has seen it; ``spans`` are its
    windows in seconds.
    """

    record_id: str
    spans: tuple[tuple[float, float], ...] = ()
    told: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def _read(
    bundle: Bundle, source: Source, name: str, reading: dict[str, Any]
) -> tuple[_Row, list[Standardised]]:
    recording = (
        source
        if isinstance(source, Recording)
        else read_recording(source, **{"record_id": name, **reading})
    )
    windows = windows_of(bundle, recording)
    fs = bundle.prepare.target_fs
    spans = tuple(
        (each.start / fs, (each.start + each.valid[1] - each.valid[0]) / fs)
        for each in windows
    )
    flags = ";".join([*windows[0].flags, *length_flags(bundle, recording, windows)])
    return _Row(
        recording.record_id,
        spans,
        {"seconds": seconds_of(bundle, windows), "flags": flags},
    ), windows


def _shared_names(sources: Iterable[Source]) -> set[str]:
    """Return the names that several files have, as in folders with an ``ecg.hea``
    each.
    """
    counts = Counter(
        path.stem
        for path in {Path(each) for each in sources if not isinstance(each, Recording)}
    )
    return {name for name, count in counts.items() if count > 1}


def _name(source: Source, shared: set[str]) -> str:
    """Return what a recording is called: its own name, that of its file, or the path
    where files share a name.
    """
    if isinstance(source, Recording):
        return source.record_id
    path = Path(source)
    return path.as_posix() if path.stem in shared else path.stem


class _Machine:
    """Fills batches with windows, whosever they are, and keeps what the model makes of
    them, in their order.
    """

    def __init__(self, bundle: Bundle, batch_size: int, embeddings: bool) -> None:
        self.bundle, self.batch_size, self.embeddings = bundle, batch_size, embeddings
        self.waiting: list[Standardised] = []
        self.logits = [np.empty((0, len(bundle.classes)))]
        self.embedded: list[np.ndarray] = []
        self.seconds = 0.0

    def take(self, windows: Sequence[Standardised]) -> None:
        """Run the model over all full batches; what is left waits for more."""
        for window in windows:
            self.waiting.append(window)
            if len(self.waiting) == self.batch_size:
                self.run()

    @torch.inference_mode()
    def run(self) -> None:
        """Run the model over what is waiting."""
        if not self.waiting:
            return
        started = time.perf_counter()
        model, x = self.bundle.model, model_input(self.bundle, *self.waiting)
        logits = None
        if self.embeddings:
            features = model.forward_features(x)
            self.embedded.append(model.head.embed(features).float().cpu().numpy())  # type: ignore[operator]
            logits = model.head(features) if self.bundle.classes else None
        else:
            logits = model(x)
        self.logits.append(
            np.empty((len(x), 0)) if logits is None else logits.cpu().double().numpy()
        )
        self.waiting = []
        self.seconds += time.perf_counter() - started


def _collected(
    bundle: Bundle, rows: Sequence[_Row], machine: _Machine, single: bool
) -> Answers:
    """Give each recording its part of the outputs, and say what they mean."""
    logits = np.concatenate(machine.logits)
    embedded = (
        np.concatenate(machine.embedded)
        if machine.embedded
        else np.empty((len(logits), 0), np.float32)
    )
    table: list[dict[str, Any]] = []
    windows: list[dict[str, Any]] = []
    kept = np.zeros(len(logits), dtype=bool)
    stop = 0
    for row in rows:
        first, stop = stop, stop + len(row.spans)
        part = slice(first, stop)
        problem = row.problem or _fault(logits[part], embedded[part])
        if problem:
            if single:
                raise EcgnbError(problem)
            table.append(
                {"record_id": row.record_id, "prediction": "", "problem": problem}
            )
            continue
        kept[part] = True
        probabilities = (
            window_probabilities(bundle, logits[part])
            if bundle.classes
            else logits[part]
        )
        table.append(
            {
                "record_id": row.record_id,
                **_verdict(bundle, probabilities),
                **row.told,
                "problem": "",
            }
        )
        windows += [
            {
                "record_id": row.record_id,
                "window": number,
                "start_s": start_s,
                "end_s": end_s,
                **_named(bundle, values),
            }
            for number, ((start_s, end_s), values) in enumerate(
                zip(row.spans, probabilities, strict=True)
            )
        ]
    names = ["prediction", *bundle.classes] if bundle.classes else []
    return Answers(
        pd.DataFrame(
            table, columns=["record_id", *names, "seconds", "flags", "problem"]
        ),
        pd.DataFrame(
            windows,
            columns=["record_id", "window", "start_s", "end_s", *bundle.classes],
        ),
        embedded[kept] if machine.embeddings else None,
        {},
    )


def _fault(logits: np.ndarray, embedded: np.ndarray) -> str:
    """Say what is wrong with what the model made of a recording; nothing when all of it
    is finite.
    """
    if np.isfinite(logits).all() and np.isfinite(embedded).all():
        return ""
    return (
        "The model's output for this recording is NaN or infinite. Look at the training loss, whether the model has "
        "diverged, and at the recording's amplitudes."
    )


def _verdict(bundle: Bundle, probabilities: np.ndarray) -> dict[str, Any]:
    """Return what is called for a recording and its probabilities, from those of its
    windows.
    """
    if not bundle.classes:
        return {}
    joined = join_windows(bundle, probabilities)
    called = called_classes(
        bundle.classes, bundle.task, joined[None], bundle.thresholds
    )[0]
    return {"prediction": called, **_named(bundle, joined)}


def _named(bundle: Bundle, values: np.ndarray) -> dict[str, float]:
    return dict(zip(bundle.classes, values.tolist(), strict=True))
