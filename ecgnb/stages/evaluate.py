"""Stage 5: evaluation of the trained model on the test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.environment import describe_environment
from ecgnb.core.errors import first_few
from ecgnb.core.files import sha256_file, write_csv, write_json
from ecgnb.core.progress import say
from ecgnb.data.catalog.cinc2020 import NORMAL_CLASS, challenge_weights
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.deploy.windows import called_classes
from ecgnb.evaluation.arrays import one_hot
from ecgnb.evaluation.bootstrap import (
    PER_CLASS_METRICS,
    bootstrap,
    bootstrap_per_class,
    bootstrap_score,
    widen_collapsed,
)
from ecgnb.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    probabilities_from_logits,
)
from ecgnb.evaluation.challenge import (
    RHYTHM_CLASSES,
    challenge_scorer,
    rhythm_f1_scorer,
)
from ecgnb.evaluation.decision_rules import (
    PLAIN,
    DecisionRule,
    compare_rules,
    fit_rule,
)
from ecgnb.evaluation.metrics import FEW_PATIENTS, compute_metrics, few_outcomes
from ecgnb.evaluation.prior import log_prior
from ecgnb.evaluation.thresholds import CRITERIA, decide
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.stages.prepare import require_current_preparation
from ecgnb.stages.split import patient_groups, targets_of
from ecgnb.stages.train import (
    build_loader,
    build_run_model,
    build_run_objective,
    training_inputs,
)
from ecgnb.training.checkpoint import load_best
from ecgnb.training.devices import choose_accelerator
from ecgnb.training.validation import Predictions, predict_logits
from ecgnb.transforms.pipeline import build_pipeline

#: Challenges with published weights of their scored classes: data set, year.
YEARS = {"cinc2020": 2020, "cinc2021": 2021}
#: Files of the stage in the run's folder.
RESULTS = (
    "metrics.json",
    "predictions.csv",
    "bundle/bundle.json",
    "bundle/model.safetensors",
    "bundle/README.md",
)


def evaluate(run: Run) -> pd.DataFrame:
    """Evaluate the best checkpoint on the test split; write metrics, predictions and
    the bundle.

    Prior correction, temperature and thresholds are chosen on the validation split.
    The intervals are over patients (`ecgnb.evaluation.bootstrap`).

    Returns:
        The headline numbers: ``metric, value, low, high``.

    Raises:
        StageError: the training is not done, or was done with other recordings, labels
            or splits.
        CheckpointError: the best checkpoint is damaged.
        ConfigError: the objective trains no classifier.
    """
    use_run(run)
    run.require("train")  # names the first stage that is missing
    require_current_preparation(run)
    inputs = evaluation_inputs(run)
    with run.work("evaluate", inputs) as is_needed:
        if is_needed:
            _evaluate_test_split(run, inputs)
    return headline_table(run)


def _evaluate_test_split(run: Run, inputs: dict[str, Any]) -> None:
    model, objective = load_best_model(run)
    valid = predict_split(run, model, objective, "valid")
    test = predict_split(run, model, objective, "test")
    classes, task = run.classes, run.task
    rules = fit_rules(run, valid)
    criterion = run.config.evaluation.decision_criterion
    rule = rules[criterion]
    thresholds = None  # in multi-class tasks
    if rule.thresholds is not None:
        thresholds = rule.thresholds.tolist()
    probabilities = rule.probabilities(test.logits)  # [n, n_classes]
    splits = {
        "valid": (valid.logits, valid.targets),
        "test": (test.logits, test.targets),
    }
    sizes = {part: len(rows) for part, rows in run.splits.parts.items()}
    metrics = {
        **compute_metrics(test.targets, probabilities, classes, task, thresholds),
        **_intervals(run, test.targets, probabilities, thresholds),
        "temperature": rule.temperature,  # above 1: the model was too sure
        "logit_offset": rule.logit_offset.tolist() if rule.strength else [],
        "prior_strength": rule.strength,
        "thresholds": thresholds,
        "decision_criterion": criterion,
        "decisions": compare_rules(rules, criterion, splits),
        "split": {**sizes, "leaks": run.require("split")["leaks"]},
        "uncalibrated": _calibration_numbers(test, task),
    }
    _mark_few_patients(run, metrics, test.targets)
    write_csv(
        run.path("predictions.csv"),
        _prediction_table(run, test, probabilities, thresholds),
    )
    write_json(run.path("metrics.json"), metrics)
    _write_bundle(run, model, metrics)
    run.finish("evaluate", inputs, files=RESULTS)
    for warning in metrics["warnings"]:
        say(warning)


def _mark_few_patients(run: Run, metrics: dict[str, Any], targets: np.ndarray) -> None:
    """Add ``few`` to the numbers of each class, and a warning that names them."""
    truth = one_hot(targets, (len(targets), len(run.classes)), run.task)
    patients = patient_groups(run.records.iloc[run.splits.test])
    marks = few_outcomes(truth, patients)
    few = []
    for number, mark in enumerate(marks):
        row = metrics["per_class"][number]
        row["few"] = mark
        if mark:
            outcome = truth[:, number] == (mark == "positives")
            n_patients = len(np.unique(patients[outcome]))
            few.append(f"{row['class']} ({n_patients} with {mark})")
    if few:
        metrics["warnings"].append(
            f"Fewer than {FEW_PATIENTS} patients of the test split decide the numbers "
            f"of {first_few(few, 10)}: they are a first impression, look at the "
            "intervals."
        )


def evaluation_inputs(run: Run) -> dict[str, Any]:
    """Return the inputs of an evaluation: the training and the configuration."""
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
    columns = ["metric", "value", "low", "high"]
    return pd.DataFrame(run.metrics["intervals"], columns=columns)


def per_class_table(run: Run) -> pd.DataFrame:
    """Return the numbers of each class on the test split, one row per class, each
    number followed by the ends of its interval (``auroc, auroc_low, auroc_high``).

    The column ``few`` says of which outcome there are few patients.
    """
    table = pd.DataFrame(run.metrics["per_class"])
    intervals = pd.DataFrame(run.metrics["per_class_intervals"])
    for metric in PER_CLASS_METRICS:
        rows = intervals[intervals["metric"] == metric].set_index("class")
        for end in ("high", "low"):  # each is inserted right after the number
            values = rows[end].reindex(table["class"]).to_numpy(float)
            position = list(table.columns).index(metric) + 1
            table.insert(position, f"{metric}_{end}", values)
    return table


def decision_table(run: Run) -> pd.DataFrame:
    """Return what the decisions of each criterion give on validation and test: one row
    per criterion and split, those in use marked.
    """
    table = pd.DataFrame(run.metrics["decisions"])
    return table.rename(columns={"strength": "part of the log prior"})


def load_best_model(run: Run) -> tuple[Any, Any]:
    """Return the run's model, in evaluation mode, and its objective, with the weights
    of the best epoch.
    """
    run.require("train")
    model = build_run_model(run, report=lambda line: None)  # the training printed it
    objective = build_run_objective(run, model)
    load_best(run.path("checkpoints", "best.ckpt"), model, objective)
    return model.eval(), objective


def predict_split(run: Run, model: Any, objective: Any, part: str) -> Predictions:
    """Return the logits of one split ("valid", "test"), before any calibration."""
    device = choose_accelerator(run.config.training.device)
    predictions = predict_logits(
        model, build_loader(run, part, device=device), objective
    )
    # Calibration and metrics are computed in float64.
    return predictions._replace(logits=predictions.logits.astype(np.float64))


def fit_rules(run: Run, valid: Predictions) -> dict[str, DecisionRule]:
    """Choose the decision rule of every criterion on the validation split, for the one
    in use and for comparison.
    """
    training = run.config.training.for_task(run.task)
    n_balanced = 0
    if run.config.evaluation.prior_correction == "auto":
        weighted = training.class_weights == "balanced"
        n_balanced = int(weighted) + int(training.sampler == "weighted")
    targets = targets_of(run, run.records.iloc[run.splits.train])
    prior = log_prior(targets, len(run.classes), run.task)
    rules = {}
    for criterion in (PLAIN, *CRITERIA):
        rules[criterion] = fit_rule(
            valid.logits, valid.targets, run.task, criterion, prior, n_balanced
        )
    return rules


def _calibration_numbers(predictions: Predictions, task: str) -> dict[str, float]:
    """Return Brier score and calibration error of the plain outputs, for comparison."""
    probabilities = probabilities_from_logits(predictions.logits, task)
    arguments = (predictions.targets, probabilities, task)
    return {
        "brier": brier_score(*arguments),
        "ece": expected_calibration_error(*arguments),
    }


def _intervals(
    run: Run,
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: list[float] | None,
) -> dict[str, Any]:
    """Return intervals of the headline numbers and of each class."""
    config = run.config.evaluation
    inputs = (targets, probabilities, run.classes, run.task, thresholds)
    options: dict[str, Any] = {
        "n_resamples": config.bootstrap_resamples,
        "confidence": config.confidence,
        "groups": patient_groups(run.records.iloc[run.splits.test]),  # int64 [n]
    }
    headline = [bootstrap(*inputs, **options)]
    decisions = decide(probabilities, run.task, thresholds)
    score = challenge_scorer_of(run, targets, decisions)
    if score is not None:
        table = bootstrap_score(score, len(decisions), **options)
        n_patients = len(np.unique(options["groups"]))
        headline.append(widen_collapsed(table, n_patients, config.confidence))
    per_class = bootstrap_per_class(*inputs, **options)
    return {
        "intervals": pd.concat(headline).to_dict(orient="records"),
        "per_class_intervals": per_class.to_dict(orient="records"),
        "confidence": config.confidence,
    }


def challenge_scorer_of(
    run: Run, targets: np.ndarray, decisions: np.ndarray
) -> Callable[[np.ndarray], dict[str, np.ndarray]] | None:
    """Return the official score of a Challenge as a function of record counts; None
    where it is not defined.

    It is defined for the data sets of the Challenges with all their scored classes, in
    any order.
    """
    if run.config.data.name == "cinc2017":
        has_all = set(RHYTHM_CLASSES) <= set(run.classes)
        if not has_all or run.task != "multiclass":
            return None
        return rhythm_f1_scorer(targets, decisions, run.classes)
    year = YEARS.get(run.config.data.name)
    if year is None or run.task != "multilabel":
        return None
    classes, weights = challenge_weights(year)
    if set(run.classes) != set(classes):  # no score for a part of them
        return None
    order = [classes.index(name) for name in run.classes]
    weights = weights[np.ix_(order, order)]  # [true class, decision]
    return challenge_scorer(targets, decisions, weights, run.classes, NORMAL_CLASS)


def _prediction_table(
    run: Run,
    test: Predictions,
    probabilities: np.ndarray,
    thresholds: list[float] | None,
) -> pd.DataFrame:
    classes = list(run.classes)
    records = run.records.iloc[run.splits.test].reset_index(drop=True)
    called = called_classes(run.classes, run.task, probabilities, thresholds)
    # "AF|MI" and "MI|AF" are the same.
    correct = [
        set(prediction.split("|")) == set(label.split("|"))
        for prediction, label in zip(called, records["label"], strict=True)
    ]
    table = records[["dataset", "record_id", "patient_id", "path", "label"]]
    table = table.assign(prediction=called, correct=correct)
    scores = pd.DataFrame(probabilities, columns=classes).add_prefix("probability_")
    logits = pd.DataFrame(test.logits, columns=classes).add_prefix("logit_")
    return pd.concat([table, scores, logits], axis=1)


def _write_bundle(run: Run, model: Any, metrics: dict[str, Any]) -> None:
    best = run.path("checkpoints", "best.ckpt")
    bundle = Bundle(
        model=model,
        classes=run.classes,
        task=run.task,
        # LEADS may be empty; a bundle names the leads that were stored.
        prepare=dataclasses.replace(run.config.prepare, leads=run.store.leads),
        transforms=build_pipeline(run.config.transforms.transforms),
        thresholds=tuple(metrics["thresholds"] or ()),
        temperature=metrics["temperature"],
        logit_offset=tuple(metrics["logit_offset"]),
        metrics={"intervals": metrics["intervals"], "split": metrics["split"]},
        provenance={
            "run": run.name,
            "dataset": run.config.data.name,
            "parameters": run.config.parameters(),
            "best_checkpoint_sha256": sha256_file(best),
            "environment": describe_environment(run.root),
        },
    )
    save_bundle(bundle, run.path("bundle"))
