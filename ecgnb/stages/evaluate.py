"""Stage 5: what the trained model is worth, on the test split that nothing was chosen
on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.environment import describe_environment
from ecgnb.core.files import sha256_file, write_csv, write_json
from ecgnb.core.progress import say
from ecgnb.evaluation.bootstrap import bootstrap, bootstrap_per_class, bootstrap_score
from ecgnb.evaluation.calibration import (
    apply_temperature,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    probabilities_from_logits,
)
from ecgnb.evaluation.metrics import compute_metrics
from ecgnb.evaluation.thresholds import choose_thresholds, decide
from ecgnb.run.run import Run
from ecgnb.stages.train import (
    build_loader,
    build_objective,
    build_run_model,
    training_inputs,
)

#: Challenges whose scored classes have published weights: data set, year.
YEARS = {"cinc2020": 2020, "cinc2021": 2021}


def challenge_scorer_of(
    run: Run, targets: np.ndarray, decisions: np.ndarray
) -> Callable[[np.ndarray], dict[str, np.ndarray]] | None:
    """Return the Challenge score of a run as a function of record counts; None where it
    is not defined.

    It is defined for the data sets of the Challenges with all their scored classes, in
    any order.
    """
    from ecgnb.data.catalog.cinc2020 import NORMAL_CLASS, challenge_weights
    from ecgnb.evaluation.challenge import challenge_scorer

    year = YEARS.get(run.config.data.name)
    if year is None or run.task != "multilabel":
        return None
    classes, weights = challenge_weights(year)
    if set(run.classes) != set(classes):
        return None
    order = [classes.index(name) for name in run.classes]
    return challenge_scorer(
        targets, decisions, weights[np.ix_(order, order)], run.classes, NORMAL_CLASS
    )


#: What the stage leaves in the run's folder.
RESULTS = (
    "metrics.json",
    "predictions.csv",
    "bundle/bundle.json",
    "bundle/model.safetensors",
)


@dataclass(frozen=True)
class Outputs:
    """The best model's outputs for one split.

    Attributes:
        targets: int64 ``[n]`` or {0, 1} ``[n, n_classes]``.
        logits: float64 ``[n, n_classes]``, before any calibration.
    """

    targets: np.ndarray
    logits: np.ndarray


def evaluate(run: Run) -> pd.DataFrame:
    """Judge the best checkpoint on the test split; write metrics, predictions and the
    bundle.

    Temperature and thresholds are chosen on the validation split. The intervals are
    bootstrap intervals that resample patients.

    Returns:
        The headline numbers: ``metric, value, low, high``.

    Raises:
        StageError: the training is not done, or was done with other recordings, labels
            or splits.
        CheckpointError: the best checkpoint is damaged.
    """
    inputs = evaluation_inputs(run)
    if not run.is_done("evaluate", inputs):
        _evaluate(run)
        run.finish("evaluate", inputs, files=RESULTS)
        for warning in run.metrics["warnings"]:
            say(warning)
    return headline_table(run)


def evaluation_inputs(run: Run) -> dict[str, Any]:
    """Return what an evaluation depends on: the training, and how to judge."""
    run.require("train")
    trained = run.require_current("train", training_inputs(run))
    return {
        "train": trained["identity"],
        "config": dataclasses.asdict(run.config.evaluation),
    }


def headline_table(run: Run) -> pd.DataFrame:
    """Return the headline numbers of a run with their intervals: ``metric, value, low,
    high``.
    """
    return pd.DataFrame(run.metrics["intervals"])[["metric", "value", "low", "high"]]


def per_class_table(run: Run) -> pd.DataFrame:
    """Return the numbers of each class on the test split, a row a class."""
    return pd.DataFrame(run.metrics["per_class"])


def load_best_model(run: Run) -> Any:
    """Return the run's model with the weights of its best epoch, in evaluation mode."""
    from ecgnb.training.checkpoint import load_best

    run.require("train")
    model = build_run_model(run, tell=lambda _: None)  # the training has told it
    load_best(run.path("checkpoints", "best.ckpt"), model)
    return model.eval()


def _evaluate(run: Run) -> None:
    model = load_best_model(run)
    valid, test = _outputs(run, model, "valid"), _outputs(run, model, "test")
    temperature = fit_temperature(valid.logits, valid.targets, run.task)
    valid_probabilities = _calibrated(run, valid, temperature)
    thresholds = _thresholds(run, valid.targets, valid_probabilities)
    probabilities = _calibrated(run, test, temperature)
    metrics = _measure(run, test, probabilities, thresholds)
    metrics |= {
        "temperature": temperature,
        "thresholds": thresholds,
        "split": _split_facts(run),
    }
    metrics["uncalibrated"] = _calibration_numbers(run, test)
    write_csv(
        run.path("predictions.csv"), _predictions(run, test, probabilities, thresholds)
    )
    write_json(run.path("metrics.json"), metrics)
    _write_bundle(run, model, metrics)


def _calibration_numbers(run: Run, outputs: Outputs) -> dict[str, float]:
    """Return Brier score and calibration error without temperature, to tell what it
    changed.
    """
    probabilities = probabilities_from_logits(outputs.logits, run.task)
    return {
        "brier": brier_score(outputs.targets, probabilities, run.task),
        "ece": expected_calibration_error(outputs.targets, probabilities, run.task),
    }


def _outputs(run: Run, model: Any, part: str) -> Outputs:
    from ecgnb.training.devices import choose_accelerator
    from ecgnb.training.validation import predict_logits

    loader = build_loader(
        run, part, device=choose_accelerator(run.config.training.device)
    )
    predicted = predict_logits(model, loader, build_objective(run))
    return Outputs(predicted.targets, predicted.logits.astype(np.float64))


def _calibrated(run: Run, outputs: Outputs, temperature: float) -> np.ndarray:
    return probabilities_from_logits(
        apply_temperature(outputs.logits, temperature), run.task
    )


def _thresholds(
    run: Run, targets: np.ndarray, probabilities: np.ndarray
) -> list[float] | None:
    """One threshold a class for multilabel; with one true class a recording, the most
    probable class is called.
    """
    chosen = choose_thresholds(targets, probabilities, run.task)
    return None if chosen is None else chosen.tolist()


def _measure(
    run: Run, test: Outputs, probabilities: np.ndarray, thresholds: list[float] | None
) -> dict[str, Any]:
    config = run.config.evaluation
    about = (test.targets, probabilities, run.classes, run.task, thresholds)
    options: dict[str, Any] = {
        "n_resamples": config.bootstrap_resamples,
        "confidence": config.confidence,
        "groups": patient_groups(run.records.iloc[run.splits.test]),
    }
    headline = [bootstrap(*about, **options)]
    decisions = decide(probabilities, run.task, thresholds)
    if score := challenge_scorer_of(run, test.targets, decisions):
        headline.append(bootstrap_score(score, len(decisions), **options))
    return {
        **compute_metrics(*about),
        "intervals": pd.concat(headline).to_dict(orient="records"),
        "per_class_intervals": bootstrap_per_class(*about, **options).to_dict(
            orient="records"
        ),
        "confidence": config.confidence,
    }


def patient_groups(records: pd.DataFrame) -> np.ndarray:
    """Return a group number a recording: recordings of one patient share it, unknown
    patients stand alone.
    """
    own = "record " + records["record_id"]
    return pd.factorize(records["patient_id"].where(records["patient_id"] != "", own))[
        0
    ]


def _split_facts(run: Run) -> dict[str, Any]:
    return {
        **{part: len(rows) for part, rows in run.splits.parts.items()},
        "leaks": run.require("split")["leaks"],
    }


def _predictions(
    run: Run, test: Outputs, probabilities: np.ndarray, thresholds: list[float] | None
) -> pd.DataFrame:
    from ecgnb.deploy.predict import called_classes

    records = run.records.iloc[run.splits.test].reset_index(drop=True)
    called = called_classes(run.classes, run.task, probabilities, thresholds)
    table = records[["dataset", "record_id", "patient_id", "path", "label"]].assign(
        prediction=called,
        correct=[_same(a, b) for a, b in zip(called, records["label"], strict=True)],
    )
    scores = pd.DataFrame(
        probabilities, columns=[f"probability_{name}" for name in run.classes]
    )
    logits = pd.DataFrame(
        test.logits, columns=[f"logit_{name}" for name in run.classes]
    )
    return pd.concat([table, scores, logits], axis=1)


def _same(called: str, label: str) -> bool:
    return set(called.split("|")) == set(label.split("|"))


def _write_bundle(run: Run, model: Any, metrics: dict[str, Any]) -> None:
    from ecgnb.deploy.bundle import Bundle
    from ecgnb.deploy.bundle_folder import save_bundle
    from ecgnb.transforms.pipeline import build_pipeline

    provenance = {
        "run": run.name,
        "dataset": run.config.data.name,
        "parameters": run.config.parameters(),
        "best_checkpoint_sha256": sha256_file(run.path("checkpoints", "best.ckpt")),
        "environment": describe_environment(run.root),
    }
    bundle = Bundle(
        model=model,
        classes=run.classes,
        task=run.task,
        prepare=dataclasses.replace(run.config.prepare, leads=run.store.leads),
        transforms=build_pipeline(list(run.config.transforms.transforms)),
        thresholds=tuple(metrics["thresholds"] or ()),
        temperature=metrics["temperature"],
        metrics={"intervals": metrics["intervals"], "split": metrics["split"]},
        provenance=provenance,
    )
    save_bundle(bundle, run.path("bundle"))
