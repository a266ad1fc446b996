"""`lower_precision`: a bundle in lower precision and what that changes on recordings;
refused where it is too much.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ecgnb.core.console import text_table
from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.progress import progress
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.standardise import Standardised
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import BATCH_SIZE, Source
from ecgnb.deploy.windows import (
    join_windows,
    model_input,
    require_classes,
    window_probabilities,
    windows_of,
)
from ecgnb.evaluation.thresholds import decide
from ecgnb.models.lowering import PRECISIONS, n_bytes, precision_of, to_precision

if TYPE_CHECKING:
    import pandas as pd

#: Times of which a median is taken at least: the first, with all that is made once,
#: then does not count.
_TIMES = 7


@dataclass(frozen=True, eq=False)
class PrecisionReport:
    """What a lower precision costs and saves, on the recordings that were given.

    Attributes:
        precision: of the encoder now.
        before, after: probabilities ``[n_recordings, n_classes]`` in float32 and now.
        record_ids: the recordings.
        classes: the classes.
        n_changed: decisions that differ: a recording's class or, for several labels,
            whether one of them is called.
        n_decisions: decisions that were compared.
        n_windows: windows that the model saw; a recording's go through it together, at
            most 32 at a time.
        bytes_before, bytes_after: of the model's weights.
        seconds_before, seconds_after: in the model for one recording; the median, taken
            turn by turn.
        device: where that was.
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
        """The absolute change of each probability, ``[n_recordings, n_classes]``."""
        return np.abs(self.after - self.before)

    @property
    def largest_change(self) -> float:
        """The largest of these."""
        return float(self.changes.max())

    @property
    def mean_change(self) -> float:
        """Their mean."""
        return float(self.changes.mean())

    @property
    def agreement(self) -> float:
        """The share of decisions that stay the same."""
        return 1 - self.n_changed / self.n_decisions

    def table(self) -> pd.DataFrame:
        """Return a row a class: ``class, largest_change, mean_change``, and where the
        largest is.

        That is ``recording`` with its probability ``before`` and ``after``.
        """
        import pandas as pd

        worst, columns = self.changes.argmax(axis=0), range(len(self.classes))
        return pd.DataFrame(
            {
                "class": self.classes,
                "largest_change": self.changes.max(axis=0),
                "mean_change": self.changes.mean(axis=0),
                "recording": [self.record_ids[row] for row in worst],
                "before": self.before[worst, columns],
                "after": self.after[worst, columns],
            }
        )

    def worst(self) -> str:
        """Say which probability changes most, from what to what."""
        row, column = np.unravel_index(self.changes.argmax(), self.changes.shape)
        return (
            f"{self.classes[column]!r} of recording {self.record_ids[row]!r} "
            f"goes from {self.before[row, column]:.4f} to {self.after[row, column]:.4f}"
        )

    def __str__(self) -> str:
        table = self.table()
        for name in ("largest_change", "mean_change", "before", "after"):
            table[name] = table[name].map("{:.5f}".format)
        n, windows = len(self.record_ids), self.n_windows / len(self.record_ids)
        return "\n".join(
            [
                f"{self.precision} against float32 on {n} recordings:",
                f"weights   {self.bytes_before / 1e6:.1f} MB, now {self.bytes_after / 1e6:.1f} MB",
                f"latency   {self.seconds_before * 1e3:.1f} ms, now {self.seconds_after * 1e3:.1f} ms "
                f"(median; one recording at a time, {windows:.3g} windows each, on {self.device})",
                f"change    of a probability at most {self.largest_change:.5f}, in the mean {self.mean_change:.5f}",
                f"decisions {self.n_changed} of {self.n_decisions} changed ({self.agreement:.2%} agree)",
                text_table(table),
            ]
        )


def lower_precision(
    bundle: Bundle,
    precision: str,
    recordings: Source | Iterable[Source],
    *,
    max_change: float = 0.02,
    **reading: Any,
) -> tuple[Bundle, PrecisionReport]:
    """Return a bundle whose encoder is in lower precision, and what that changes; the
    given one stays as it is.

    The new one is saved, loaded and used like any other. What its metrics say was
    measured in float32.

    Args:
        bundle: in float32; it runs where it lies.
        precision: "bfloat16", "float16" or "int8"; see
            `ecgnb.models.lowering.to_precision`.
        recordings: what the two are compared on: files or recordings such as the model
            will meet, of all classes. What the change is on others, nobody knows.
        max_change: by how much a probability may change, from 0 to 1.
        **reading: passed to `read_recording`.

    Raises:
        ConfigError: a probability changes by more than ``max_change`` or is not finite
            any more; the model cannot come to that precision, or cannot run in it here;
            there is no recording, or nothing to compare.
        ReadError: a recording cannot be used.
    """
    if not bundle.classes:
        raise ConfigError(
            "A lower precision is judged by what it changes in probabilities, and this model has no classifier. "
            "`ecgnb.models.lowering.to_precision(model, ...)` lowers it unjudged."
        )
    require_classes(bundle)
    if not 0 <= max_change <= 1:
        raise ConfigError(
            f"max_change is {max_change}; give a difference of probabilities, from 0 to 1."
        )
    if precision_of(bundle.model) == precision:
        raise ConfigError(
            f"The bundle is in {precision} already; give one of {', '.join(PRECISIONS[1:])}."
        )
    sources = (
        [recordings]
        if isinstance(recordings, str | Path | Recording)
        else list(recordings)
    )
    if not sources:
        raise ConfigError(
            "lower_precision needs recordings to compare on; give some that the model will meet."
        )
    lowered = dataclasses.replace(
        bundle, model=to_precision(copy.deepcopy(bundle.model), precision)
    )
    report = _compared(bundle, lowered, sources, reading)
    if not report.largest_change <= max_change:
        raise ConfigError(
            f"{precision} changes a probability by {report.largest_change:.4f}, more than max_change={max_change:g}: "
            f"{report.worst()} ({report.n_changed} of {report.n_decisions} decisions change). Stay with float32, try "
            "another precision (float16 is finer than bfloat16), or, if so much does no harm, allow it; max_change=1 "
            "gives the whole report."
        )
    return dataclasses.replace(
        lowered, provenance={**bundle.provenance, "precision": _told(report)}
    ), report


@dataclass(frozen=True)
class _Side:
    """A bundle that is compared, its probabilities of each recording ``[n_classes]``,
    and the seconds of each run.
    """

    bundle: Bundle
    precision: str
    probabilities: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @torch.inference_mode()
    def run(self, windows: Sequence[Standardised]) -> np.ndarray:
        """Return the probabilities of a recording, and note how long the model took."""
        batches = [
            windows[first : first + BATCH_SIZE]
            for first in range(0, len(windows), BATCH_SIZE)
        ]
        inputs = [model_input(self.bundle, *batch) for batch in batches]
        started = time.perf_counter()
        logits = np.concatenate(
            [self.bundle.model(x).cpu().double().numpy() for x in inputs]
        )
        self.seconds.append(time.perf_counter() - started)
        return join_windows(self.bundle, window_probabilities(self.bundle, logits))


def _compared(
    bundle: Bundle, lowered: Bundle, sources: Sequence[Source], reading: dict[str, Any]
) -> PrecisionReport:
    """Run both over the recordings, turn by turn, so that whatever else the machine
    does slows both.
    """
    sides = _Side(bundle, "float32"), _Side(lowered, precision_of(lowered.model))
    record_ids, n_windows = [], 0
    for source in progress(sources, title="recordings"):
        recording = (
            source
            if isinstance(source, Recording)
            else read_recording(source, **reading)
        )
        windows = windows_of(bundle, recording)
        for _ in range(-(-_TIMES // len(sources))):
            answers = [_answer(side, recording.record_id, windows) for side in sides]
        for side, answer in zip(sides, answers, strict=True):
            side.probabilities.append(answer)
        record_ids.append(recording.record_id)
        n_windows += len(windows)
    return _report(*sides, tuple(record_ids), n_windows)


def _answer(side: _Side, record_id: str, windows: Sequence[Standardised]) -> np.ndarray:
    try:
        return side.run(windows)
    except (RuntimeError, EcgnbError) as error:
        raise ConfigError(
            f"The model gives no probabilities in {side.precision} for recording {record_id!r}: {error} Where float32 "
            "does, stay with it, or try another precision: bfloat16 holds numbers as large, float16 none above 65504."
        ) from error


def _report(
    before: _Side, after: _Side, record_ids: tuple[str, ...], n_windows: int
) -> PrecisionReport:
    bundle = before.bundle
    probabilities = [np.stack(side.probabilities) for side in (before, after)]
    decisions = [decide(each, bundle.task, bundle.thresholds) for each in probabilities]
    return PrecisionReport(
        precision=after.precision,
        before=probabilities[0],
        after=probabilities[1],
        record_ids=record_ids,
        classes=bundle.classes,
        n_changed=int((decisions[0] != decisions[1]).sum()),
        n_decisions=decisions[0].size,
        n_windows=n_windows,
        bytes_before=n_bytes(bundle.model),
        bytes_after=n_bytes(after.bundle.model),
        seconds_before=statistics.median(before.seconds),
        seconds_after=statistics.median(after.seconds),
        device=str(next(bundle.model.parameters()).device),
    )


def _told(report: PrecisionReport) -> dict[str, Any]:
    """Return what a bundle tells of it; no names of recordings."""
    return {
        "encoder": report.precision,
        "largest change of a probability": report.largest_change,
        "decisions changed": f"{report.n_changed} of {report.n_decisions}",
        "recordings compared": len(report.record_ids),
        "metrics": "measured in float32",
    }
