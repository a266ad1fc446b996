"""The figures of a run, drawn from what the run's folder holds; each returns the figure
and the table that it drew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.data.labels.targets import encode
from ecgnb.data.recording import Recording
from ecgnb.run.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Drawn = tuple[Figure, pd.DataFrame]


@dataclass(frozen=True)
class Outcome:
    """The test split as the model saw it.

    Attributes:
        targets: int64 ``[n]`` or {0, 1} ``[n, n_classes]``.
        probabilities: float64 ``[n, n_classes]``, after temperature scaling.
        logits: float64 ``[n, n_classes]``.
    """

    targets: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray


def read_outcome(run: Run) -> Outcome:
    """Read targets, probabilities and logits back from ``predictions.csv``."""
    table = run.predictions
    columns = {
        kind: table[[f"{kind}_{name}" for name in run.classes]].to_numpy()
        for kind in ("probability", "logit")
    }
    return Outcome(
        encode(table["label"], run.classes, run.task),
        columns["probability"],
        columns["logit"],
    )


def draw_label_counts(run: Run) -> Drawn:
    """How many recordings of the cohort carry each label."""
    from ecgnb.figures.plots import plot_class_distribution

    counts = (
        run.manifest["label"]
        .str.get_dummies("|")
        .reindex(columns=list(run.classes), fill_value=0)
        .sum()
    )
    return plot_class_distribution(
        pd.DataFrame({"class": counts.index, "records": counts.to_numpy()})
    )


def draw_label_coverage(run: Run) -> Drawn:
    """How each recording that was found got its label, or why it has none."""
    from ecgnb.figures.plots import plot_label_coverage

    cohort = run.require("cohort")
    kinds = {
        "with a label": "n_labelled",
        "without: called OTHER": "n_other",
        "without: dropped": "n_dropped",
    }
    return plot_label_coverage(
        pd.DataFrame(
            {"kind": list(kinds), "records": [cohort[name] for name in kinds.values()]}
        )
    )


def draw_class_examples(run: Run) -> Drawn:
    """The first prepared recording of each class."""
    from ecgnb.figures.paper import plot_class_examples

    records = run.records
    carries = {
        name: records["label"]
        .str.split("|")
        .map(lambda labels, name=name: name in labels)
        for name in run.classes
    }
    rows = {
        name: int(records.index[carried][0])
        for name, carried in carries.items()
        if carried.any()
    }
    return plot_class_examples(
        {name: stored_recording(run, row) for name, row in rows.items()}
    )


def draw_training_curves(run: Run) -> Drawn:
    """Loss, scores and learning rate over the epochs, with the epoch whose weights were
    kept.
    """
    from ecgnb.figures.plots import plot_training

    return plot_training(run.history, best_epoch=run.require("train")["best_epoch"])


def draw_per_class(run: Run) -> Drawn:
    """Precision, recall, F1, specificity and AUROC of each class with their
    intervals.
    """
    from ecgnb.figures.plots import plot_class_scores

    metrics = run.metrics
    support = pd.Series(
        {each["class"]: each["support"] for each in metrics["per_class"]}
    )
    scores = _intervals(metrics)
    return plot_class_scores(
        scores,
        support,
        n_records=metrics["n_records"],
        confidence=metrics["confidence"],
    )


def draw_roc(run: Run) -> Drawn:
    """ROC curve of each class against the rest."""
    from ecgnb.figures.plots_ranking import plot_roc

    return plot_roc(*_outcome_arguments(run), **_interval_arguments(run))


def draw_precision_recall(run: Run) -> Drawn:
    """Precision-recall curve of each class against the rest."""
    from ecgnb.figures.plots_ranking import plot_precision_recall

    return plot_precision_recall(*_outcome_arguments(run), **_interval_arguments(run))


def draw_confusion(run: Run) -> Drawn:
    """What was called what."""
    from ecgnb.evaluation.thresholds import decide
    from ecgnb.figures.plots_decisions import plot_confusion

    outcome = read_outcome(run)
    decisions = decide(outcome.probabilities, run.task, run.metrics["thresholds"])
    return plot_confusion(outcome.targets, decisions, run.classes)


def draw_reliability(run: Run) -> Drawn:
    """How often the model is right when it is so sure, before and after temperature
    scaling.
    """
    from ecgnb.evaluation.calibration import probabilities_from_logits
    from ecgnb.figures.plots_decisions import plot_reliability

    outcome = read_outcome(run)
    before = probabilities_from_logits(outcome.logits, run.task)
    temperature = run.metrics["temperature"]
    return plot_reliability(
        outcome.targets,
        before,
        run.task,
        calibrated=outcome.probabilities,
        temperature=temperature,
    )


def draw_score_histograms(run: Run) -> Drawn:
    """How the probabilities of each class's positives and negatives are spread."""
    from ecgnb.figures.plots_ranking import plot_score_histograms

    return plot_score_histograms(
        *_outcome_arguments(run), thresholds=run.metrics["thresholds"]
    )


def draw_test_example(run: Run, position: int) -> Drawn:
    """One test recording (by its place in ``predictions.csv``) on paper, with label,
    prediction and probabilities.
    """
    from ecgnb.figures.paper import plot_ecg

    row = run.predictions.iloc[position]
    recording = stored_recording(run, int(run.splits.test[position]))
    recording.metadata.update(_metadata_of(row["path"]))
    probabilities = {name: float(row[f"probability_{name}"]) for name in run.classes}
    return plot_ecg(
        recording,
        probabilities=probabilities,
        predicted=row["prediction"],
        truth=row["label"],
    )


#: Figures of a whole run in the order of the report: name, what it shows, and the stage
#: that it needs.
FIGURES: dict[str, tuple[str, Callable[[Run], Any]]] = {
    "label_coverage": ("How the recordings got their labels.", draw_label_coverage),
    "label_counts": ("Recordings of the cohort by class.", draw_label_counts),
    "class_examples": ("One prepared recording of each class.", draw_class_examples),
    "training_curves": (
        "Training and validation over the epochs.",
        draw_training_curves,
    ),
    "per_class": ("Scores of each class on the test split.", draw_per_class),
    "roc": ("ROC curves on the test split.", draw_roc),
    "precision_recall": (
        "Precision-recall curves on the test split.",
        draw_precision_recall,
    ),
    "confusion": ("What was called what on the test split.", draw_confusion),
    "reliability": (
        "Calibration on the test split, before and after temperature scaling.",
        draw_reliability,
    ),
    "score_histograms": (
        "Probabilities of positives and negatives on the test split.",
        draw_score_histograms,
    ),
}


def stored_recording(run: Run, row: int) -> Recording:
    """Read a row of the store back as a `Recording`, without its padding."""
    store = run.store
    about = store.records.iloc[row]
    first, last = (int(about[name]) for name in ("valid_start", "valid_stop"))
    return Recording(
        signal=store.read([row])[0][:, first:last],
        fs=store.fs,
        leads=store.leads,
        record_id=str(about["record_id"]),
        dataset=str(about["dataset"]),
        patient_id=str(about["patient_id"]),
        flags=tuple(flag for flag in str(about["flags"]).split(";") if flag),
    )


def _metadata_of(path: str) -> dict[str, Any]:
    """Age, sex and so on stand in the original file, which may have gone since."""
    from ecgnb.core.errors import EcgnbError
    from ecgnb.data.readers.reading import read_recording

    try:
        return read_recording(path, n_samples=1).metadata
    except EcgnbError:
        return {}


def _outcome_arguments(run: Run) -> tuple[Any, ...]:
    outcome = read_outcome(run)
    return outcome.targets, outcome.probabilities, run.classes, run.task


def _interval_arguments(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    return {"intervals": _intervals(metrics), "confidence": metrics["confidence"]}


def _intervals(metrics: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(metrics["per_class_intervals"])
    numbers = ["value", "low", "high"]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})
