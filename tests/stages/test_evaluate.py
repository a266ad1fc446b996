"""Evaluation: its numbers against scikit-learn, and what it writes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

import ecgnb
from ecgnb.stages.evaluate import challenge_scorer_of


def test_the_headline_equals_scikit_learn_on_the_predictions(finished_run) -> None:
    table, classes = finished_run.predictions, list(finished_run.classes)
    probabilities = table[[f"probability_{name}" for name in classes]].to_numpy()
    targets = table["label"].map(classes.index).to_numpy()
    headline = ecgnb.evaluate(finished_run).set_index("metric")
    assert headline.loc["accuracy", "value"] == pytest.approx(
        accuracy_score(table["label"], table["prediction"])
    )
    one_hot = np.eye(len(classes))[targets]
    assert headline.loc["macro_auroc", "value"] == pytest.approx(
        roc_auc_score(one_hot, probabilities, average="macro")
    )
    macro_f1 = f1_score(
        table["label"],
        table["prediction"],
        labels=classes,
        average="macro",
        zero_division=np.nan,
    )
    assert headline.loc["macro_f1", "value"] == pytest.approx(macro_f1)
    accuracy = headline.loc["accuracy"]
    assert (
        0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        and accuracy["low"] < accuracy["high"]
    )


def test_the_temperature_is_the_one_of_validation_not_of_the_test(finished_run) -> None:
    from ecgnb.evaluation.calibration import fit_temperature, probabilities_from_logits
    from ecgnb.stages.evaluate import load_best_model, predict_split
    from ecgnb.stages.figure_values import VALUES

    valid = predict_split(finished_run, *load_best_model(finished_run), "valid")
    temperature = finished_run.metrics["temperature"]
    assert temperature == pytest.approx(
        fit_temperature(valid.logits, valid.targets, "multiclass"), rel=1e-5
    )
    logits, probabilities = (
        VALUES[name](finished_run) for name in ("logits", "probabilities")
    )
    scaled = probabilities_from_logits(logits / temperature, "multiclass")
    np.testing.assert_allclose(scaled, probabilities, atol=1e-6)


def test_predictions_are_the_test_split_and_nothing_else(finished_run) -> None:
    predicted = set(finished_run.predictions["record_id"])
    records = finished_run.records.set_index("row")["record_id"]
    parts = {
        name: set(records.loc[rows]) for name, rows in finished_run.splits.parts.items()
    }
    assert predicted == parts["test"]
    assert not predicted & (parts["train"] | parts["valid"])
    assert sum(map(len, parts.values())) == len(records) == 80


def test_metrics_file_is_plain_json_without_nan(finished_run) -> None:
    text = finished_run.path("metrics.json").read_text(encoding="utf-8")
    metrics = json.loads(
        text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert metrics["n_records"] == len(finished_run.predictions)
    assert sum(map(sum, metrics["confusion_matrix"])) == metrics["n_records"]


def run_of(name: str, classes: tuple[str, ...], task: str = "multiclass"):
    """What `challenge_scorer_of` reads of a run."""
    data = SimpleNamespace(data=SimpleNamespace(name=name))
    return SimpleNamespace(config=data, classes=classes, task=task)


def test_the_official_f1_of_2017_is_reported_where_it_is_defined() -> None:
    targets = np.array([0, 1, 2, 3, 2])
    decisions = np.array([0, 1, 2, 2, 0])
    run = run_of("cinc2017", ("N", "A", "O", "~"))
    score = challenge_scorer_of(run, targets, decisions)
    # F1 of N 2/3, of A 1, of O 2/4
    expected = pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert score(np.ones((5, 1)))["challenge_f1"].item() == expected
    assert challenge_scorer_of(run_of("cinc2017", ("N", "A")), targets, targets) is None
    assert (
        challenge_scorer_of(run_of("folder", ("N", "A", "O")), targets, targets) is None
    )
