"""Evaluation: its numbers against scikit-learn, and what it writes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

import ecgnb
import ecgnb.stages.evaluate
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
    metrics = finished_run.metrics
    temperature, offset = metrics["temperature"], metrics["logit_offset"] or 0.0
    assert temperature == pytest.approx(
        fit_temperature(valid.logits + offset, valid.targets, "multiclass"), rel=1e-5
    )
    logits, probabilities = (
        VALUES[name](finished_run) for name in ("logits", "probabilities")
    )
    corrected = (logits + offset) / temperature
    scaled = probabilities_from_logits(corrected, "multiclass")
    np.testing.assert_allclose(scaled, probabilities, atol=1e-6)


def test_the_prior_is_that_of_training_and_its_part_the_best_on_validation(
    finished_run,
) -> None:
    from ecgnb.stages.evaluate import load_best_model, predict_split

    metrics, classes = finished_run.metrics, list(finished_run.classes)
    labels = finished_run.records["label"].iloc[finished_run.splits.train]
    prior = np.log([(labels == name).mean() for name in classes])
    strength = metrics["prior_strength"]
    if strength:
        assert metrics["logit_offset"] == pytest.approx(strength * prior)
    valid = predict_split(finished_run, *load_best_model(finished_run), "valid")

    def macro_f1(part: float) -> float:
        decided = (valid.logits + part * prior).argmax(axis=1)
        scores = f1_score(
            valid.targets, decided, average=None, labels=range(len(classes)),
            zero_division=np.nan,
        )  # fmt: skip
        return float(np.nanmean(scores))

    best = max(macro_f1(part) for part in np.linspace(0, 1, 21))
    assert macro_f1(strength) == pytest.approx(best)


def test_evaluation_and_bundle_give_the_same_probabilities(finished_run) -> None:
    row = finished_run.predictions.iloc[0]
    predicted = ecgnb.predict(row["path"], run=finished_run).iloc[0]
    for name in finished_run.classes:
        assert predicted[name] == pytest.approx(row[f"probability_{name}"], abs=1e-4)
    bundle = json.loads(finished_run.path("bundle/bundle.json").read_text("utf-8"))
    assert bundle["logit_offset"] == finished_run.metrics["logit_offset"]


def test_all_criteria_are_compared_on_validation_and_test(finished_run) -> None:
    table = ecgnb.stages.evaluate.decision_table(finished_run)
    assert table.groupby("split").size().to_dict() == {"test": 5, "valid": 5}
    used = table[table["used"]].set_index("split")
    assert used["criterion"].unique().tolist() == ["macro_f1"]
    headline = finished_run.metrics["headline"]
    assert used.loc["test", "accuracy"] == pytest.approx(headline["accuracy"])
    valid = table[table["split"] == "valid"].set_index("criterion")
    assert valid["macro_f1"].idxmax() in ("none", "macro_f1")
    assert valid.loc["micro_f1", "accuracy"] == valid["accuracy"].max()
    html = finished_run.path("report.html").read_text("utf-8")
    assert "What each criterion of the decisions gives" in html


def test_every_number_of_a_class_has_its_interval_and_few_patients_are_marked(
    finished_run,
) -> None:
    from ecgnb.stages.evaluate import per_class_table

    table = per_class_table(finished_run)
    numbers = ["precision", "recall", "specificity", "f1", "auroc"]
    for name in [*numbers, "average_precision", "brier"]:
        value, low, high = (
            table[column].to_numpy(float)
            for column in (name, f"{name}_low", f"{name}_high")
        )
        known = ~np.isnan(value)
        assert (low[known] <= value[known]).all() and (value <= high)[known].all()
        assert (high - low)[known].min() > 1e-4
    predictions = finished_run.predictions
    warnings = " ".join(finished_run.metrics["warnings"])
    for row in table.itertuples():
        patients = predictions.loc[
            predictions["label"] == row[1], "patient_id"
        ].nunique()
        assert (row.few == "positives") == (patients < 10)
        if row.few == "positives":
            assert f"{row[1]} ({patients} with positives)" in warnings
    assert "first impression" in warnings
    html = finished_run.path("report.html").read_text("utf-8")
    support, auroc = table["support"].idxmax(), table["auroc"]
    assert f"{auroc[support]:.3f} (" in html


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
