"""Lower the precision of a bundle, and report the changes of its predictions."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgnb.core.console import text_table
from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.progress import progress
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import BATCH_SIZE, Source, list_sources
from ecgnb.deploy.windows import (
    join_windows,
    model_input,
    window_probabilities,
    windows_of,
)
from ecgnb.evaluation.thresholds import decide
from ecgnb.models.lowering import PRECISIONS, n_bytes, precision_of, to_precision

#: Runs of each model at least, of whose seconds the median is taken: the first one,
#: which allocates and packs, then has no influence.
_MIN_RUNS = 7


@dataclass(frozen=True, eq=False)
class PrecisionReport:
    """Costs and savings of a lower precision, on given recordings.

    Attributes:
        precision: the lower precision of the encoder.
        before, after: probabilities ``[n_recordings, n_classes]`` in float32 and in
            the lower precision.
        record_ids: names of the recordings.
        classes: names of the classes.
        n_changed: decisions that differ: a recording's class or, for multilabel, one
            of its classes.
        n_decisions: decisions that were compared.
        n_windows: windows of all recordings; those of one are batched, at most 32.
        bytes_before, bytes_after: size of the model's weights.
        seconds_before, seconds_after: in the model for one recording; median.
        device: of these runs.
    """

    precision: str
    before: np.ndarray
    after: np.ndarray
    record_ids: tuple[str, ...]
    classes: tuple[str, ...]
    n_changed: int
    n_decisions: int
    n_windows: int
    bytes_before: int
    bytes_after: int
    seconds_before: float
    seconds_after: float
    device: str

    @property
    def changes(self) -> np.ndarray:
        """Absolute change of each probability, ``[n_recordings, n_classes]``."""
        return np.abs(self.after - self.before)

    @property
    def largest_change(self) -> float:
        """Largest absolute change of a probability."""
        return float(self.changes.max())

    @property
    def mean_change(self) -> float:
        """Mean absolute change of the probabilities."""
        return float(self.changes.mean())

    @property
    def agreement(self) -> float:
        """Share of decisions that stay the same."""
        return 1 - self.n_changed / self.n_decisions

    def table(self) -> pd.DataFrame:
        """Return one row per class.

        Columns ``class, largest_change, mean_change``, and for the largest change the
        ``recording`` with its probability ``before`` and ``after``.
        """
        changes = self.changes
        worst = changes.argmax(axis=0), np.arange(len(self.classes))  # one per class
        return pd.DataFrame(
            {
                "class": self.classes,
                "largest_change": changes[worst],
                "mean_change": changes.mean(axis=0),
                "recording": [self.record_ids[row] for row in worst[0]],
                "before": self.before[worst],
                "after": self.after[worst],
            }
        )

    def worst(self) -> str:
        """Describe the largest change of a probability."""
        row, column = np.unravel_index(self.changes.argmax(), self.changes.shape)
        before, after = self.before[row, column], self.after[row, column]
        return (
            f"{self.classes[column]!r} of recording {self.record_ids[row]!r} "
            f"goes from {before:.4f} to {after:.4f}"
        )

    def __str__(self) -> str:
        table = self.table()
        for name in ("largest_change", "mean_change", "before", "after"):
            table[name] = table[name].map("{:.5f}".format)
        n_recordings = len(self.record_ids)
        n_windows = self.n_windows / n_recordings
        lines = [
            f"{self.precision} against float32 on {n_recordings} recordings:",
            f"weights   {self.bytes_before / 1e6:.1f} MB, now "
            f"{self.bytes_after / 1e6:.1f} MB",
            f"latency   {self.seconds_before * 1e3:.1f} ms, now "
            f"{self.seconds_after * 1e3:.1f} ms (median; one recording at a time, "
            f"{n_windows:.3g} windows each, on {self.device})",
            f"change    of a probability at most {self.largest_change:.5f}, "
            f"in the mean {self.mean_change:.5f}",
            f"decisions {self.n_changed} of {self.n_decisions} changed "
            f"({self.agreement:.2%} agree)",
            text_table(table),
        ]
        return "\n".join(lines)


def lower_precision(
    bundle: Bundle,
    precision: str,
    recordings: Source | Iterable[Source],
    *,
    max_change: float = 0.02,
    **reading: Any,
) -> tuple[Bundle, PrecisionReport]:
    """Return a bundle whose encoder is in lower precision, and a report of the changes.

    The given bundle is not changed. The new one is saved, loaded and used like any
    other; its metrics were measured in float32.

    Args:
        bundle: in float32; it runs on its device.
        precision: "bfloat16", "float16" or "int8"; see
            `ecgnb.models.lowering.to_precision`.
        recordings: files or recordings to compare on, as the model will meet them, of
            all classes. On others the changes are unknown.
        max_change: largest change of a probability that is accepted, from 0 to 1.
        **reading: passed to `read_recording`.

    Raises:
        ConfigError: a probability changes by more than ``max_change`` or is not finite
            any more; the model cannot be converted, or cannot run in that precision
            here; there is no recording, or nothing to compare.
        ReadError: a recording cannot be used.
    """
    if not bundle.classes:
        raise ConfigError(
            "A lower precision is judged by the changes of probabilities, and this "
            "model has no classifier. `ecgnb.models.lowering.to_precision(model, ...)` "
            "lowers it without a comparison."
        )
    if not 0 <= max_change <= 1:
        raise ConfigError(
            f"max_change is {max_change}; give a difference of probabilities, 0 to 1."
        )
    if precision_of(bundle.model) == precision:
        raise ConfigError(
            f"The bundle is in {precision} already; give one of "
            f"{', '.join(PRECISIONS[1:])}."
        )
    sources = list_sources(recordings)
    if not sources:
        raise ConfigError(
            "lower_precision needs recordings to compare on; give some that the model "
            "will meet."
        )
    model = to_precision(copy.deepcopy(bundle.model), precision)
    lowered = dataclasses.replace(bundle, model=model)
    report = _compare(bundle, lowered, sources, reading)
    if not report.largest_change <= max_change:
        raise ConfigError(
            f"{precision} changes a probability by {report.largest_change:.4f}, more "
            f"than max_change={max_change:g}: {report.worst()} ({report.n_changed} of "
            f"{report.n_decisions} decisions change). Stay with float32, try another "
            "precision (float16 is finer than bfloat16), or, if so much does no harm, "
            "allow it; max_change=1 gives the whole report."
        )
    facts = {
        "encoder": report.precision,
        "largest change of a probability": report.largest_change,
        "decisions changed": f"{report.n_changed} of {report.n_decisions}",
        "recordings compared": len(report.record_ids),  # without their names
        "metrics": "measured in float32",
    }
    provenance = {**bundle.provenance, "precision": facts}
    return dataclasses.replace(lowered, provenance=provenance), report


@dataclass(frozen=True)
class _Side:
    """One of two bundles compared.

    Probabilities ``[n_classes]`` of each recording, and seconds of each run.
    """

    bundle: Bundle
    precision: str
    probabilities: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def run(self, record_id: str, windows: Sequence[Standardised]) -> np.ndarray:
        """Return the probabilities of a recording, and time the model."""
        try:
            return self._probabilities_of(windows)
        except (RuntimeError, EcgnbError) as error:
            raise ConfigError(
                f"The model gives no probabilities in {self.precision} for recording "
                f"{record_id!r}: {error} If float32 does, stay with it, or try another "
                "precision: bfloat16 has the range of float32, float16 ends at 65504."
            ) from error

    @torch.inference_mode()
    def _probabilities_of(self, windows: Sequence[Standardised]) -> np.ndarray:
        inputs = []
        for first in range(0, len(windows), BATCH_SIZE):
            batch = windows[first : first + BATCH_SIZE]
            inputs.append(model_input(self.bundle, *batch))
        started = time.perf_counter()
        outputs = [self.bundle.model(x).cpu().double().numpy() for x in inputs]
        self.seconds.append(time.perf_counter() - started)
        logits = np.concatenate(outputs)
        return join_windows(self.bundle, window_probabilities(self.bundle, logits))


def _compare(
    bundle: Bundle, lowered: Bundle, sources: Sequence[Source], reading: dict[str, Any]
) -> PrecisionReport:
    """Run both over the recordings in turns, so that other load slows both."""
    sides = _Side(bundle, "float32"), _Side(lowered, precision_of(lowered.model))
    record_ids, n_windows = [], 0
    n_runs = math.ceil(_MIN_RUNS / len(sources))
    for source in progress(sources, title="recordings"):
        recording = source
        if not isinstance(recording, Recording):
            recording = read_recording(recording, **reading)
        windows = windows_of(bundle, recording)
        for _ in range(n_runs):
            outputs = [side.run(recording.record_id, windows) for side in sides]
        for side, probabilities in zip(sides, outputs, strict=True):
            side.probabilities.append(probabilities)  # of the last run
        record_ids.append(recording.record_id)
        n_windows += len(windows)
    return _report(*sides, tuple(record_ids), n_windows)


def _report(
    before: _Side, after: _Side, record_ids: tuple[str, ...], n_windows: int
) -> PrecisionReport:
    bundle = before.bundle
    old, new = np.stack(before.probabilities), np.stack(after.probabilities)
    old_decisions = decide(old, bundle.task, bundle.thresholds)
    changed = old_decisions != decide(new, bundle.task, bundle.thresholds)
    return PrecisionReport(
        precision=after.precision,
        before=old,
        after=new,
        record_ids=record_ids,
        classes=bundle.classes,
        n_changed=int(changed.sum()),
        n_decisions=changed.size,
        n_windows=n_windows,
        bytes_before=n_bytes(bundle.model),
        bytes_after=n_bytes(after.bundle.model),
        seconds_before=statistics.median(before.seconds),
        seconds_after=statistics.median(after.seconds),
        device=str(next(bundle.model.parameters()).device),
    )
