"""Figures show the numbers of their tables, and the tables hold the numbers of other
implementations."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from ecgnb.core.errors import EcgnbError
from ecgnb.evaluation.bootstrap import bootstrap_per_class
from ecgnb.evaluation.calibration import apply_temperature, probabilities_from_logits
from ecgnb.evaluation.metrics import per_class_metrics
from ecgnb.figures import plots, plots_decisions, plots_ranking, style

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
ONE_BY_ONE = np.array([0.2, 0.4, 0.7])


def multiclass(n: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, classes, n)
    logits = 2 * np.eye(classes)[targets] + rng.normal(size=(n, classes))
    return targets, logits


def multilabel(n: int = 300, classes: int = 71) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    targets = (rng.random((n, classes)) < np.linspace(0.4, 0.01, classes)).astype(int)
    targets[:, -1] = 0
    return targets, probabilities_from_logits(
        2 * targets - 2 + rng.normal(size=(n, classes)), "multilabel"
    )


@pytest.fixture
def softmax() -> tuple[np.ndarray, np.ndarray]:
    targets, logits = multiclass()
    return targets, probabilities_from_logits(logits, "multiclass")


def line(ax: Axes, label: str) -> np.ndarray:
    """Points of the line whose legend begins with ``label``."""
    (found,) = [
        each for each in ax.get_lines() if str(each.get_label()).startswith(label)
    ]
    return np.asarray(found.get_xydata())


def words_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def assert_readable(figure: Figure) -> None:
    """No type under eight points, and nothing outside the figure."""
    figure.canvas.draw()
    assert all(
        text.get_fontsize() >= style.SMALL
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text()
    )
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert page.x0 - 0.02 <= drawn.x0 and drawn.x1 <= page.x1 + 0.02, (drawn, page)
    assert page.y0 - 0.02 <= drawn.y0 and drawn.y1 <= page.y1 + 0.02, (drawn, page)


def test_roc_table_holds_the_areas_of_scikit_learn_and_the_lines_its_points(
    softmax: tuple,
) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_roc(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        assert_allclose(
            rows["auroc"],
            roc_auc_score(targets == k, probabilities[:, k]),
            rtol=0,
            atol=1e-14,
        )
        assert_array_equal(
            line(figure.axes[0], name),
            rows[["false_positive_rate", "true_positive_rate"]],
        )
        area = np.trapezoid(rows["true_positive_rate"], rows["false_positive_rate"])
        assert_allclose(area, rows["auroc"].iloc[0], atol=1e-12)
    macro = np.mean(
        [roc_auc_score(targets == k, probabilities[:, k]) for k in range(5)]
    )
    assert f"average of 5 classes: {macro:.3f}" in words_of(figure)
    assert "n = 200 records" in words_of(figure)
    assert_readable(figure)


def test_precision_recall_lines_enclose_the_average_precision(softmax: tuple) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_precision_recall(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        recall, precision = line(figure.axes[0], name).T
        steps = -np.sum(
            np.diff(recall) * precision[:-1]
        )  # the line is drawn as these steps
        assert_allclose(
            steps,
            average_precision_score(targets == k, probabilities[:, k]),
            atol=1e-12,
        )
        assert_allclose(rows["average_precision"], steps, atol=1e-12)
        assert rows["prevalence"].iloc[0] == np.mean(targets == k)
        (drawn,) = [
            each
            for each in figure.axes[0].get_lines()
            if np.array_equal(each.get_ydata(), [np.mean(targets == k)] * 2)
        ]
        assert drawn.get_color() == style.PALETTE[k]
    assert_readable(figure)


def test_intervals_stand_in_legend_and_table(softmax: tuple) -> None:
    targets, probabilities = softmax
    intervals = bootstrap_per_class(
        targets, probabilities, CLASSES, "multiclass", n_resamples=30, confidence=0.9
    )
    figure, table = plots_ranking.plot_roc(
        targets,
        probabilities,
        CLASSES,
        "multiclass",
        intervals=intervals,
        confidence=0.9,
    )
    expected = intervals[
        (intervals["metric"] == "auroc") & (intervals["class"] == "MI")
    ].iloc[0]
    drawn = table[table["class"] == "MI"].iloc[0]
    assert (drawn["auroc"], drawn["low"], drawn["high"]) == pytest.approx(
        tuple(expected[["value", "low", "high"]])
    )
    assert (
        f"MI: {expected['value']:.3f} ({expected['low']:.3f}-{expected['high']:.3f})"
        in words_of(figure)
    )
    assert "90 % bootstrap interval" in words_of(figure)


@pytest.mark.parametrize(
    "draw", [plots_ranking.plot_roc, plots_ranking.plot_precision_recall]
)
def test_many_classes_keep_ten_names_and_the_rest_grey(draw) -> None:
    targets, probabilities = multilabel()
    names = [f"diagnosis with a long name, number {k}" for k in range(71)]
    figure, table = draw(targets, probabilities, names, "multilabel")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert (
        sum(": 0." in label and "…" in label for label in labels)
        == plots_ranking.MAX_LINES
    )
    assert "61 other classes" in labels
    assert "10 most frequent of 71 classes" in words_of(figure)
    assert table["class"].nunique() == int((targets.sum(axis=0) > 0).sum())
    assert_readable(figure)


def test_a_class_without_positives_is_named_and_not_drawn(softmax: tuple) -> None:
    targets, probabilities = softmax
    targets = np.where(targets == 2, 0, targets)
    figure, table = plots_ranking.plot_roc(
        targets, probabilities, CLASSES, "multiclass"
    )
    assert "STTC" not in set(table["class"])
    assert "STTC: not defined" in words_of(figure)
    nobody, empty = plots_ranking.plot_roc(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    assert empty.empty and "A: not defined" in words_of(nobody)
    plots_ranking.plot_precision_recall(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    plots_ranking.plot_score_histograms(
        np.zeros((4, 2)), np.full((4, 2), 0.3), ("A", "B"), "multilabel"
    )
    plots_decisions.plot_confusion(np.zeros(4, int), np.zeros(4, int), ("A", "B"))


def test_histograms_count_every_record_once(softmax: tuple) -> None:
    targets, probabilities = softmax
    figure, table = plots_ranking.plot_score_histograms(
        targets, probabilities, CLASSES, "multiclass"
    )
    for k, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        positives = rows[rows["group"] == "positives"]
        assert rows["count"].sum() == len(targets)
        assert positives["count"].sum() == (targets == k).sum()
        assert positives["share"].sum() == pytest.approx(1)
        drawn = figure.axes[k].patches[-1].get_data().values
        assert_allclose(drawn, 100 * positives["share"])
    assert_readable(figure)


def test_thresholds_are_drawn_in_the_panel_of_their_class() -> None:
    targets, probabilities = multilabel(classes=3)
    figure, _ = plots_ranking.plot_score_histograms(
        targets, probabilities, ("A", "B", "C"), "multilabel", thresholds=ONE_BY_ONE
    )
    assert [
        ax.get_lines()[0].get_xdata()[0] for ax in figure.axes
    ] == ONE_BY_ONE.tolist()


def test_confusion_matrix_is_that_of_scikit_learn(softmax: tuple) -> None:
    targets, probabilities = softmax
    decisions = probabilities.argmax(axis=1)
    figure, table = plots_decisions.plot_confusion(targets, decisions, CLASSES)
    expected = confusion_matrix(targets, decisions)
    assert_array_equal(table["count"].to_numpy().reshape(5, 5), expected)
    assert table.loc[1, ["true", "predicted"]].tolist() == ["NORM", "MI"]
    shares = expected / expected.sum(axis=1, keepdims=True)
    assert_allclose(table["share"], shares.ravel())
    assert_allclose(
        figure.axes[0].collections[0].get_array().ravel(), 100 * shares.ravel()
    )
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells[0] == f"{expected[0, 0]}\n{100 * shares[0, 0]:.0f} %"
    assert f"{np.trace(expected)} of n = 200 records right" in words_of(figure)
    assert_readable(figure)


def test_classes_that_do_not_fit_are_summed() -> None:
    targets, logits = multiclass(500, 9)
    names = [f"class {k}" for k in range(9)]
    figure, table = plots_decisions.plot_confusion(
        targets, logits.argmax(axis=1), names, limit=4
    )
    assert table["count"].sum() == 500
    kept = np.argsort(-np.bincount(targets), kind="stable")[:4]
    others = table[
        (table["true"] == plots_decisions.OTHERS)
        & (table["predicted"] == plots_decisions.OTHERS)
    ]
    inside = ~np.isin(targets, kept) & ~np.isin(logits.argmax(axis=1), kept)
    assert others["count"].item() == inside.sum()
    assert "4 most frequent of 9 classes" in words_of(figure)
    assert_readable(figure)


def test_confusion_of_multilabel_tasks_is_two_by_two_a_class() -> None:
    targets, probabilities = multilabel()
    decisions = (probabilities > 0.5).astype(int)
    figure, table = plots_decisions.plot_confusion(
        targets, decisions, [f"class {k}" for k in range(71)]
    )
    assert table["class"].nunique() == 20
    first = table[table["class"] == "class 0"].set_index(["true", "predicted"])["count"]
    assert_array_equal(
        first.to_numpy().reshape(2, 2), confusion_matrix(targets[:, 0], decisions[:, 0])
    )
    assert first["yes", "no"] == ((targets[:, 0] == 1) & (decisions[:, 0] == 0)).sum()
    assert_readable(figure)


def test_reliability_before_and_after() -> None:
    targets, logits = multiclass()
    before = probabilities_from_logits(logits * 3, "multiclass")
    after = probabilities_from_logits(apply_temperature(logits * 3, 3.0), "multiclass")
    figure, table = plots_decisions.plot_reliability(
        targets, after, "multiclass", uncalibrated=before, temperature=3.0
    )
    for which in ("before", "after"):
        rows = table[(table["which"] == which) & (table["count"] > 0)]
        assert rows["count"].sum() == len(targets)
        assert_allclose(line(figure.axes[0], which), rows[["confidence", "observed"]])
    right = (before.argmax(axis=1) == targets).mean()
    rows = table[table["which"] == "before"]
    assert np.nansum(rows["observed"] * rows["count"]) / len(targets) == pytest.approx(
        right
    )
    assert "temperature 3" in words_of(figure)
    assert_readable(figure)


def history(epochs: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        rng.random((epochs, 4)),
        columns=["train_loss", "valid_loss", "macro_f1", "macro_auroc"],
    )
    return table.assign(
        epoch=np.arange(1, epochs + 1), lr=np.linspace(1e-3, 1e-4, epochs), seconds=1.0
    )


@pytest.mark.parametrize("epochs", [1, 2, 30, 200])
def test_training_curves_show_the_history(epochs: int) -> None:
    rows = history(epochs)
    figure, table = plots.plot_training(rows, best_epoch=1)
    assert list(table) == [
        "epoch",
        "train_loss",
        "valid_loss",
        "macro_f1",
        "macro_auroc",
        "lr",
    ]
    assert_array_equal(
        line(figure.axes[0], "validation"), rows[["epoch", "valid_loss"]]
    )
    assert_array_equal(line(figure.axes[3], "learning rate"), rows[["epoch", "lr"]])
    assert (figure.axes[0].get_lines()[0].get_markersize() > 0) == (epochs <= 40)
    assert (
        "Training over 1 epoch\n" if epochs == 1 else f"Training over {epochs} epochs\n"
    ) in words_of(figure)
    assert_readable(figure)


def test_training_without_validation_shows_what_there_is() -> None:
    figure, table = plots.plot_training(
        history(3)[["epoch", "train_loss", "lr"]].assign(macro_f1=np.nan)
    )
    assert list(table) == ["epoch", "train_loss", "lr"]
    assert len(figure.axes) == 2
    with pytest.raises(EcgnbError, match="0 epochs"):
        plots.plot_training(history(3).head(0))


def test_bars_of_classes_have_the_lengths_of_the_table(softmax: tuple) -> None:
    targets, probabilities = softmax
    intervals = bootstrap_per_class(
        targets, probabilities, CLASSES, "multiclass", n_resamples=20
    )
    per_class = per_class_metrics(targets, probabilities, CLASSES, "multiclass")
    figure, table = plots.plot_class_scores(per_class, intervals, len(targets))
    assert table is per_class
    for ax, metric in zip(figure.axes, plots.CLASS_SCORES, strict=True):
        rows = intervals[intervals["metric"] == metric]
        assert_allclose([bar.get_width() for bar in ax.patches], rows["value"])
        assert_allclose([bar.get_width() for bar in ax.patches], per_class[metric])
        ends = np.array(ax.collections[0].get_segments())[:, :, 0]
        assert_allclose(ends, rows[["low", "high"]])
    label = figure.axes[0].get_yticklabels()[1].get_text()
    assert label == f"MI ({(targets == 1).sum()})"
    assert_readable(figure)


def test_bars_of_seventy_one_classes_stay_readable() -> None:
    targets, probabilities = multilabel()
    names = [f"diagnosis with a long name, number {k}" for k in range(71)]
    intervals = bootstrap_per_class(
        targets, probabilities, names, "multilabel", n_resamples=5
    )
    per_class = per_class_metrics(targets, probabilities, names, "multilabel")
    figure, _ = plots.plot_class_scores(per_class, intervals, len(targets))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 71
    gaps = [upper.y0 - lower.y1 for upper, lower in itertools.pairwise(boxes)]
    assert min(gaps) > 0, "names must not overlap"
    few, _ = plots.plot_class_scores(per_class, intervals, len(targets), limit=3)
    frequent = np.argsort(-targets.sum(axis=0), kind="stable")[:3]
    labels = [label.get_text() for label in few.axes[0].get_yticklabels()]
    assert labels == [
        f"{style.shorten(names[k])} ({targets[:, k].sum()})" for k in frequent
    ]


def test_distribution_and_coverage() -> None:
    counts = pd.DataFrame(
        {"class": ["A", "B"], "train": [80, 8], "valid": [10, 1], "test": [10, 0]}
    )
    figure, table = plots.plot_class_distribution(counts)
    assert table["total"].tolist() == [100, 9]
    assert [bar.get_x() for bar in figure.axes[0].patches][4:] == [90, 9]
    assert_readable(figure)
    coverage = pd.DataFrame({"kind": ["mapped", "unmapped"], "records": [30, 10]})
    figure, table = plots.plot_label_coverage(coverage)
    assert table["share"].tolist() == [0.75, 0.25]
    assert "30 (75.0 %)" in words_of(figure)
    assert_readable(figure)
    with pytest.raises(EcgnbError, match="column of counts"):
        plots.plot_label_coverage(coverage[["kind"]])


def test_drawing_leaves_no_pyplot_figure_and_no_setting(softmax: tuple) -> None:
    import matplotlib.pyplot as plt

    before, back_end = dict(matplotlib.rcParams), matplotlib.get_backend()
    open_before = plt.get_fignums()
    plots_decisions.plot_confusion(softmax[0], softmax[0], CLASSES)
    plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")
    assert plt.get_fignums() == open_before
    assert matplotlib.get_backend() == back_end
    assert dict(matplotlib.rcParams) == before


def test_the_users_settings_do_not_reach_a_figure(softmax: tuple) -> None:
    plain = style.png_bytes(
        plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")[0], 50
    )
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "black", "savefig.bbox": "tight"}
    ):
        assert (
            style.png_bytes(
                plots_ranking.plot_roc(*softmax, CLASSES, "multiclass")[0], 50
            )
            == plain
        )


def test_files_are_png_and_svg_with_a_time_in_their_names(tmp_path: Path) -> None:
    figure, _ = plots.plot_training(history(1))
    first = style.save_figure(figure, tmp_path / "new", "roc: <a/b>", dpi=50)
    assert style.save_figure(figure, tmp_path / "new", "roc: <a/b>", dpi=50) == first, (
        "the same figure is kept once"
    )
    other, _ = plots.plot_training(history(2))
    second = style.save_figure(other, tmp_path / "new", "roc: <a/b>", dpi=50)
    assert re.fullmatch(r"roc-a-b_\d{8}-\d{6}", first[0].stem)
    assert [file.suffix for file in first] == [".png", ".svg"]
    assert (
        first[0].read_bytes().startswith(b"\x89PNG")
        and b"</svg>" in first[1].read_bytes()
    )
    assert len(set(first + second)) == 4
    assert sorted(tmp_path.rglob("*.*")) == sorted(first + second), (
        "nothing else may lie there"
    )


def test_math_signs_in_names_are_written_as_they_are(
    softmax: tuple, tmp_path: Path
) -> None:
    figure, _ = plots_ranking.plot_roc(
        *softmax, ("a$_1$", "$", "MI_2^3", "x\\y", "<b>"), "multiclass"
    )
    assert "a$_1$:" in words_of(figure)
    style.save_figure(figure, tmp_path, "odd", dpi=50)


def test_colours_depend_on_the_place_only() -> None:
    many = style.class_styles([str(k) for k in range(20)])
    assert (
        len({(each["color"], str(each["linestyle"])) for each in many.values()}) == 20
    )
    assert style.class_styles(CLASSES)["MI"] == many["1"]
