"""A figure registered outside the package is shown, saved and reported like ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import ecgnb
from ecgnb.core.errors import ConfigError, StageError
from ecgnb.figures import FIGURES
from ecgnb.run import session
from ecgnb.stages.figure_values import VALUES
from ecgnb.stages.report import draw_figures


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch):
    """The registry of figures, restored after the test."""
    monkeypatch.setattr(FIGURES, "_entries", dict(FIGURES._entries))
    monkeypatch.setattr(FIGURES, "_about", dict(FIGURES._about))
    return FIGURES


def test_a_figure_from_outside_is_shown_saved_and_reported(
    registry, finished_run
) -> None:
    @registry.register("mean_probability", caption="Mean probability <of each class>.")
    def plot_mean_probability(
        probabilities: np.ndarray, classes: tuple[str, ...], bins: int = 3
    ) -> tuple[Figure, pd.DataFrame]:
        """Draw the mean probability of each class."""
        figure = Figure()
        means = probabilities.mean(axis=0)
        figure.subplots().bar(classes, means)
        return figure, pd.DataFrame({"class": classes, "mean": means, "bins": bins})

    assert "mean_probability" in dir(ecgnb.show)
    show = ecgnb.show.mean_probability
    assert show.__doc__ == "Draw the mean probability of each class."
    table = show(finished_run)
    expected = finished_run.predictions.filter(regex="^probability_").mean()
    np.testing.assert_allclose(table["mean"], expected)
    files = finished_run.figures.glob("mean_probability_*")
    assert {file.suffix for file in files} == {".png", ".svg"}
    before = finished_run.path("report.html").read_text(encoding="utf-8")
    ecgnb.write_report(finished_run)
    report = finished_run.path("report.html").read_text(encoding="utf-8")
    assert "Mean probability &lt;of each class&gt;." in report
    assert report.count("<img") == before.count("<img") + 1
    # The same function draws arrays that are not of a run.
    _, outside = plot_mean_probability(np.eye(2), ("a", "b"))
    assert outside["mean"].tolist() == [0.5, 0.5]


def test_an_unknown_parameter_is_an_error_with_the_available_values(
    registry, finished_run
) -> None:
    @registry.register("odd", caption="Odd.")
    def plot_odd(probabilties: np.ndarray) -> None: ...

    with pytest.raises(
        ConfigError, match=r"'probabilties'.*Did you mean 'probabilities'"
    ) as caught:
        ecgnb.show.odd(finished_run)
    assert all(name in str(caught.value) for name in VALUES)


def test_a_figure_that_fails_is_named_in_the_report_with_the_reason(
    registry, finished_run
) -> None:
    @registry.register("broken", caption="Broken.", needs="train")
    def plot_broken(history: pd.DataFrame) -> None:
        raise ValueError("no column 'x'")

    @registry.register("early", caption="Early.", needs="train")
    def plot_early(run: object, missing: int) -> None: ...

    figures, failures = draw_figures(finished_run, "Training")
    assert [caption for caption, _ in figures] == [
        "Training and validation over the epochs."
    ]
    assert "'broken' could not be drawn (ValueError): no column 'x'" in failures
    assert "'early' could not be drawn (ConfigError)" in failures


def test_a_figure_before_its_stage_says_what_to_run(
    small_parameters, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    run = ecgnb.open_run(small_parameters)
    with pytest.raises(StageError, match=r"ecgnb\.evaluate\(run\)"):
        ecgnb.show.roc(run)
    with pytest.raises(StageError, match=r"ecgnb\.load_cohort\(run\)"):
        ecgnb.show.label_counts(run)


def test_every_registered_figure_has_a_caption_and_a_position() -> None:
    for name in FIGURES:
        about = FIGURES.about(name)
        assert about["caption"].endswith(".") and about["order"] > 0, name


def test_unknown_names_of_show_are_refused_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"'rok'\. Did you mean 'roc'"):
        ecgnb.show.rok  # noqa: B018
