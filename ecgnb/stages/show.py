"""Look at a run: each function shows one figure, keeps it as PNG and SVG, and returns
the table that it drew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.run.run import Run
from ecgnb.stages import figures
from ecgnb.stages.predict import find_bundle, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ecgnb.data.recording import Recording
    from ecgnb.port.proof.compare import Comparison


def label_coverage(run: Run) -> pd.DataFrame:
    """How each recording that was found got its label, or why it has none."""
    return _show_figure(run, "label_coverage")


def label_counts(run: Run) -> pd.DataFrame:
    """How many recordings of the cohort carry each label."""
    return _show_figure(run, "label_counts")


def class_examples(run: Run) -> pd.DataFrame:
    """One prepared recording of each class."""
    return _show_figure(run, "class_examples")


def model(run: Run) -> pd.DataFrame:
    """The model's parts with their output shapes, parameters and floating point
    operations; no figure.
    """
    from ecgnb.models.summary import model_summary
    from ecgnb.stages.train import build_run_model

    return model_summary(build_run_model(run))


def training_curves(run: Run) -> pd.DataFrame:
    """Loss, scores and learning rate over the epochs."""
    return _show_figure(run, "training_curves")


def per_class(run: Run) -> pd.DataFrame:
    """Scores of each class; the table has a row a class."""
    from ecgnb.stages.evaluate import per_class_table

    _show_figure(run, "per_class")
    return per_class_table(run)


def roc(run: Run) -> pd.DataFrame:
    """ROC curves; the table has the area under each with its interval."""
    return _one_row_a_class(_show_figure(run, "roc"), ["class", "auroc", "low", "high"])


def precision_recall(run: Run) -> pd.DataFrame:
    """Precision-recall curves; the table has the average precision of each with its
    interval.
    """
    curves = _show_figure(run, "precision_recall")
    return _one_row_a_class(
        curves, ["class", "average_precision", "low", "high", "prevalence"]
    )


def confusion(run: Run) -> pd.DataFrame:
    """What was called what; the table holds counts, rows the label and columns the
    prediction.
    """
    cells = _show_figure(run, "confusion")
    rows = ["class", "true"] if "class" in cells else ["true"]
    order = {name: list(dict.fromkeys(cells[name])) for name in [*rows, "predicted"]}
    table = cells.pivot_table(
        index=rows, columns="predicted", values="count", sort=False
    )
    return table.reindex(columns=order["predicted"]).astype(int)


def reliability(run: Run) -> pd.DataFrame:
    """How often the model is right when it is so sure, before and after temperature
    scaling.
    """
    return _show_figure(run, "reliability")


def score_histograms(run: Run) -> pd.DataFrame:
    """How the probabilities of positives and negatives are spread; the table has their
    means.
    """
    bars = _show_figure(run, "score_histograms")
    middle = (bars["lower"] + bars["upper"]) / 2 * bars["share"]
    return (
        middle.groupby([bars["class"], bars["group"]], sort=False)
        .sum()
        .unstack()
        .rename_axis(columns=None)
    )


def test_examples(run: Run, count: int = 2) -> pd.DataFrame:
    """Test recordings on paper with their prediction: called rightly and wrongly in
    turn, the surest first.
    """
    predictions = run.predictions
    sure = predictions[[f"probability_{name}" for name in run.classes]].max(axis=1)
    order = sure.sort_values(ascending=False, kind="stable").index
    sides = [
        [place for place in order if bool(predictions["correct"][place]) is side]
        for side in (True, False)
    ]
    turns = [
        place
        for rank in range(count)
        for side in sides
        for place in side[rank : rank + 1]
    ]
    chosen = turns[:count]
    for place in chosen:
        figure, _ = figures.draw_test_example(run, place)
        _present(run, f"example_{predictions['record_id'][place]}", figure)
    return predictions.loc[chosen].drop(
        columns=[f"logit_{name}" for name in run.classes]
    )


def recording(
    source: str | Path, run: str | Path | Run = "latest", **reading: Any
) -> pd.DataFrame:
    """A recording of one's own on paper with the prediction of a run or bundle.

    Args:
        source: a file.
        run: a run, its name, "latest", or where a model lies (see `ecgnb.predict`).
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Returns:
        The prediction, as `ecgnb.predict` gives it.
    """
    from ecgnb.data.readers.reading import read_recording
    from ecgnb.figures.paper import plot_ecg

    read = read_recording(
        source, **{name: value for name, value in reading.items() if value is not None}
    )
    table = predict(read, run=run)
    row = table.iloc[0]
    classes = find_bundle(run).classes
    probabilities = {name: float(row[name]) for name in classes}
    figure, _ = plot_ecg(read, probabilities=probabilities, predicted=row["prediction"])
    _display(figure)
    return table


def explanation(
    source: str | Path | Recording,
    run: str | Path | Run = "latest",
    method: str | None = None,
    target: str | None = None,
    save_to: str | Path | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """What in a recording speaks for a class, on paper; of a long recording the ten
    seconds that hold most of it.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or where a model lies (see `ecgnb.predict`).
        method: one of `ecgnb.explain.EXPLAINERS`; left out, one that suits the model.
        target: the class; left out, the one with the highest probability.
        save_to: where to keep the figure (``.png``); a notebook shows it anyway.
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Returns:
        A row a lead: its share of the positive relevance, and where it is largest.
    """
    from ecgnb.explain import plot_attribution
    from ecgnb.stages.explanation import explain_recording

    found = explain_recording(source, run, method, target, **reading)
    figure, _ = plot_attribution(
        found.recording,
        found.attribution,
        probabilities=found.probabilities,
        predicted=found.prediction,
        target=found.target,
        start=found.densest_second(),
    )
    _keep_and_display(figure, save_to)
    return found.table()


def attention(
    source: str | Path | Recording,
    run: str | Path | Run = "latest",
    layer: int = -1,
    save_to: str | Path | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Where a transformer looks in a recording, on paper: not what speaks for a class,
    but what it attends to.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or where a model lies, with or without a
            classifier.
        layer: which layer's attention; the last by default.
        save_to: where to keep the figure (``.png``); a notebook shows it anyway.
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Returns:
        A row a second: the mean and the largest attention, from 0 to 1.
    """
    from ecgnb.figures.paper import plot_ecg
    from ecgnb.stages.explanation import attend_recording

    found = attend_recording(source, run, layer, **reading)
    where = "the model's attention, scaled in each window"
    figure, _ = plot_ecg(
        found.recording,
        overlay=found.attribution,
        shaded=where,
        start=found.densest_second(),
    )
    _keep_and_display(figure, save_to)
    seconds = (np.arange(len(found.attribution)) / found.recording.fs).astype(int)
    by_second = pd.Series(found.attribution).groupby(seconds)
    return by_second.agg(["mean", "max"]).rename_axis("second").reset_index()


def comparison_of_starts(of: pd.DataFrame) -> None:
    """What a pretrained model brings, beside its baselines (`ecgnb.compare_starts`)."""
    from ecgnb.figures.plots import plot_starts

    _display(plot_starts(of))


def comparison(of: Comparison) -> None:
    """How far each layer of a ported model is from Keras, and both from float64
    (`ecgnb.port.compare`).
    """
    _display(of.plot())


def _keep_and_display(figure: Figure, save_to: str | Path | None) -> None:
    from ecgnb.core.files import atomic_write
    from ecgnb.figures.style import png_bytes

    if save_to is not None:
        with atomic_write(Path(save_to)) as temporary:
            temporary.write_bytes(png_bytes(figure))
    _display(figure)


def _show_figure(run: Run, name: str) -> pd.DataFrame:
    figure, table = figures.FIGURES[name][1](run)
    _present(run, name, figure)
    return table


def _present(run: Run, name: str, figure: Figure) -> None:
    """Keep a figure with the run, and show it where somebody can see it."""
    from ecgnb.figures.style import save_figure

    save_figure(figure, run.figures, name)
    _display(figure)


def _display(figure: Figure) -> None:
    """Show a figure in a notebook; a script has the files."""
    if "ipykernel" not in sys.modules:
        return
    from IPython.display import Image, display

    from ecgnb.figures.style import png_bytes

    display(Image(png_bytes(figure), alt=figure.get_suptitle()))


def _one_row_a_class(curves: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return curves[columns].drop_duplicates("class", ignore_index=True)
