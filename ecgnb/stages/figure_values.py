"""Values of a run that figures take as parameters, and drawing a figure by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.registry import did_you_mean
from ecgnb.data.labels.targets import encode
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.evaluation.arrays import one_hot
from ecgnb.evaluation.calibration import probabilities_from_logits
from ecgnb.evaluation.thresholds import decide
from ecgnb.figures import FIGURES
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.style import figure_style
from ecgnb.run.run import Run
from ecgnb.stages.evaluate import per_class_table


def draw_figure(run: Run, name: str) -> tuple[Figure, pd.DataFrame]:
    """Draw a registered figure of a run; its parameter names select the `VALUES`.

    Raises:
        ConfigError: there is no such figure, or it has a parameter without a default
            that a run does not offer.
        StageError: the stage whose results it draws is not done, or stale.
    """
    draw = FIGURES.get(name)
    run.require_fresh(FIGURES.about(name).get("needs", "evaluate"))
    arguments = {}
    for parameter in inspect.signature(draw).parameters.values():
        if parameter.name in VALUES:
            arguments[parameter.name] = VALUES[parameter.name](run)
        elif parameter.default is parameter.empty:
            raise ConfigError(
                f"The figure {name!r} has a parameter {parameter.name!r}, which a run "
                f"does not offer.{did_you_mean(parameter.name, VALUES)} Give it a "
                f"default value, or name it as one of: {', '.join(sorted(VALUES))}."
            )
    with figure_style():
        return draw(**arguments)


def draw_test_example(run: Run, position: int) -> Figure:
    """Draw a test recording (by its row in ``predictions.csv``) on paper, with label,
    prediction and probabilities.
    """
    row = run.predictions.iloc[position]
    recording = stored_recording(run, int(run.splits.test[position]))
    # Age and sex are in the original file, which may have been deleted since.
    with suppress(EcgnbError):
        recording.metadata.update(read_recording(row["path"], n_samples=1).metadata)
    figure, _ = plot_ecg(
        recording,
        probabilities={name: float(row[f"probability_{name}"]) for name in run.classes},
        predicted=row["prediction"],
        truth=row["label"],
    )
    return figure


def stored_recording(run: Run, row: int) -> Recording:
    """Read a row of the store as a `Recording`, without its padding."""
    store = run.store
    record = store.records.iloc[row]
    first, stop = int(record["valid_start"]), int(record["valid_stop"])  # samples
    return Recording(
        signal=store.read([row])[0][:, first:stop],
        fs=store.fs,
        leads=store.leads,
        record_id=str(record["record_id"]),
        dataset=str(record["dataset"]),
        patient_id=str(record["patient_id"]),
        flags=tuple(filter(None, str(record["flags"]).split(";"))),
    )


def _columns(run: Run, kind: str) -> np.ndarray:
    return run.predictions[[f"{kind}_{name}" for name in run.classes]].to_numpy()


def _targets(run: Run) -> np.ndarray:
    return encode(run.predictions["label"], run.classes, run.task)


def _truth(run: Run) -> np.ndarray:
    targets = _targets(run)
    return one_hot(targets, (len(targets), len(run.classes)), run.task)


def _decisions(run: Run) -> np.ndarray:
    return decide(_columns(run, "probability"), run.task, run.metrics["thresholds"])


def _intervals(run: Run) -> pd.DataFrame:
    table = pd.DataFrame(run.metrics["per_class_intervals"])
    return table.astype({"value": float, "low": float, "high": float})


def _label_counts(run: Run) -> pd.DataFrame:
    flags = run.manifest["label"].str.get_dummies("|")
    counts = flags.reindex(columns=list(run.classes), fill_value=0).sum()
    return counts.rename_axis("class").reset_index(name="records")


def _label_coverage(run: Run) -> pd.DataFrame:
    cohort = run.require("cohort")
    rows = [
        ("with a label", cohort["n_labelled"]),
        ("without: called OTHER", cohort["n_other"]),
        ("without: dropped", cohort["n_dropped"]),
    ]
    return pd.DataFrame(rows, columns=["kind", "records"])


def _examples(run: Run) -> dict[str, Recording]:
    labels = run.records["label"].str.split("|").explode()
    first_rows = labels.index.to_series().groupby(labels).first()
    return {
        name: stored_recording(run, int(first_rows[name]))
        for name in run.classes
        if name in first_rows
    }


def _metric(name: str) -> Callable[[Run], Any]:
    return lambda run: run.metrics[name]


#: Values that are properties of a run.
_PROPERTIES = (
    "task",
    "classes",
    "manifest",
    "records",
    "splits",
    "history",
    "predictions",
    "metrics",
)
#: Values that are entries of its metrics; there are no thresholds in multi-class tasks.
_METRICS = ("n_records", "confidence", "temperature", "thresholds", "prior_strength")
#: Name to value of a run: what the parameters of a registered figure may be named.
VALUES: dict[str, Callable[[Run], Any]] = {
    **{name: attrgetter(name) for name in _PROPERTIES},
    **{name: _metric(name) for name in _METRICS},
    "run": lambda run: run,
    "label_counts": _label_counts,  # class, records
    "label_coverage": _label_coverage,  # kind, records
    "examples": _examples,  # class name to its first prepared Recording
    "best_epoch": lambda run: run.require("train")["best_epoch"],
    # The test split: arrays [n_records, n_classes], where not noted otherwise.
    "targets": _targets,  # class numbers [n_records] in multi-class tasks
    "truth": _truth,  # bool
    "logits": lambda run: _columns(run, "logit"),
    "uncalibrated": lambda run: probabilities_from_logits(
        _columns(run, "logit"), run.task
    ),
    "probabilities": lambda run: _columns(run, "probability"),
    "decisions": _decisions,  # as `targets`
    "per_class": per_class_table,
    "intervals": _intervals,  # class, metric, value, low, high
}
