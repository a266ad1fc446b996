"""Plan of the demo cohort: classes, patients, label noise, borderline cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from ecgnb.core.errors import ConfigError
from ecgnb.data.demo.patients import CLASSES, SUBTYPES, DemoConfig, plan_case
from ecgnb.data.demo.synthesise import synthesise


@pytest.fixture(scope="module")
def plan() -> pd.DataFrame:
    cases = [plan_case(index, DemoConfig()) for index in range(1000)]
    columns = ("record_id", "true_label", "label", "subtype", "borderline", "severity")
    table = pd.DataFrame(
        [{name: getattr(case, name) for name in columns} for case in cases]
    )
    return table.assign(patient_id=[case.patient.patient_id for case in cases])


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_records": 0},
        {"n_records": 2.5},
        {"seed": -1},
        {"fs": "fast"},
        {"label_noise": 1.0},
        {"noise": float("nan")},
        {"seconds": 2},
    ],
)
def test_wrong_configurations_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"demo {next(iter(wrong))} is"):
        DemoConfig(**wrong)


def test_every_class_has_its_share(plan):
    for n in (256, 1000):
        shares = plan["true_label"][:n].value_counts(normalize=True)
        assert set(shares.index) == set(CLASSES)
        assert shares.min() >= 0.10 and shares["NORM"] == shares.max() < 0.45


def test_every_subtype_occurs(by_subtype):
    wanted = {name for kinds in SUBTYPES.values() for name in kinds}
    assert set(by_subtype) == wanted
    assert all(len(recordings) >= 5 for recordings in by_subtype.values())


def test_label_noise_is_within_binomial_bounds(plan):
    wrong = int((plan["label"] != plan["true_label"]).sum())
    assert binom.ppf(0.001, 1000, 0.04) <= wrong <= binom.ppf(0.999, 1000, 0.04)
    clean = [plan_case(index, DemoConfig(label_noise=0)) for index in range(200)]
    assert all(case.label == case.true_label for case in clean)


def test_borderline_cases_are_faint(plan):
    share = plan["borderline"].mean()
    assert 0.11 < share < 0.19
    ill = plan[plan["true_label"] != "NORM"]
    assert (
        ill.loc[ill["borderline"], "severity"].max()
        < 0.6
        < 0.7
        < ill.loc[~ill["borderline"], "severity"].min()
    )


def test_patients_have_one_to_four_recordings(plan):
    counts = plan["patient_id"].value_counts()
    assert set(counts) == {1, 2, 3, 4}
    assert 0.35 < (counts == 1).mean() < 0.55
    assert plan["patient_id"].is_monotonic_increasing
    mostly = plan.groupby("patient_id")["true_label"].agg(
        lambda labels: labels.value_counts().iloc[0] / len(labels)
    )
    assert mostly.mean() > 0.85


def features(index: int) -> np.ndarray:
    """An average beat of eight leads and how regular the beats are, found without the
    generator's help."""
    signal = synthesise(index).signal.astype(np.float64)[[0, 1, 6, 7, 8, 9, 10, 11]]
    signal -= np.median(signal, axis=1, keepdims=True)
    speed = np.convolve(
        np.abs(np.diff(signal, axis=1)).sum(axis=0), np.ones(40) / 40, "same"
    )
    peaks = [
        k
        for k in range(150, 4700)
        if speed[k] == speed[k - 100 : k + 100].max() and speed[k] > 0.4 * speed.max()
    ]
    rr = np.diff(peaks) / 500 if len(peaks) > 2 else np.ones(2)
    beat = np.mean([signal[:, k - 140 : k + 240] for k in peaks], axis=0)
    return np.concatenate(
        [
            beat.reshape(8, 38, 10).mean(axis=2).ravel(),
            [rr.mean(), rr.std(), rr.min(), rr.max()],
        ]
    )


@pytest.mark.slow
def test_a_simple_classifier_learns_much_but_not_everything(plan):
    ensemble = pytest.importorskip("sklearn.ensemble")
    n, half = 300, 200
    inputs, labels = (
        np.array([features(index) for index in range(n)]),
        plan["label"].to_numpy()[:n],
    )
    patients = plan["patient_id"].to_numpy()[:n]
    known = ~np.isin(patients, patients[half:])  # nobody is on both sides
    model = ensemble.RandomForestClassifier(300, random_state=0, n_jobs=1).fit(
        inputs[known], labels[known]
    )
    accuracy = (model.predict(inputs[half:]) == labels[half:]).mean()
    assert 0.65 < accuracy < 0.97
