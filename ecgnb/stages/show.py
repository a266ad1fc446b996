"""Figures of a run for notebooks: each function displays one and returns its table.

Every figure registered in `ecgnb.figures.FIGURES` is a function here under its name:
``ecgnb.show.roc(run)``. It saves the figure as PNG and SVG with the run.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgnb.core.files import atomic_write
from ecgnb.core.registry import did_you_mean
from ecgnb.deploy.inference import Source
from ecgnb.figures import FIGURES
from ecgnb.figures.attributions import plot_attribution
from ecgnb.figures.paper import plot_ecg
from ecgnb.figures.plots import plot_starts
from ecgnb.figures.style import png_bytes, save_figure
from ecgnb.models.summary import model_summary
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.stages.explanation import (
    attend_recording,
    explain_recording,
    predict_one,
    read_source,
)
from ecgnb.stages.figure_values import draw_figure, draw_test_example
from ecgnb.stages.predict import Model, open_model
from ecgnb.stages.train import build_run_model

if TYPE_CHECKING:
    from ecgnb.port.proof.compare import Comparison

#: The functions below, beside one for each registered figure.
_FUNCTIONS = (
    "model",
    "test_examples",
    "recording",
    "explanation",
    "attention",
    "comparison_of_starts",
    "comparison",
)


def __getattr__(name: str) -> Callable[[Run], pd.DataFrame]:
    # Made at each access, so that a figure registered in a notebook is found, too.
    if name not in FIGURES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}."
            f"{did_you_mean(name, __dir__())}"
        )

    def show(run: Run) -> pd.DataFrame:
        use_run(run)
        figure, table = draw_figure(run, name)
        _save_and_display(run, name, figure)
        summary = FIGURES.about(name).get("summary")
        return table if summary is None else summary(table)

    show.__name__ = show.__qualname__ = name
    show.__doc__ = inspect.getdoc(FIGURES.get(name))
    return show


def __dir__() -> list[str]:
    return sorted([*FIGURES, *_FUNCTIONS])


def model(run: Run) -> pd.DataFrame:
    """Return the model's parts with their output shapes, parameters and floating point
    operations; no figure.
    """
    return model_summary(build_run_model(use_run(run)))


def test_examples(run: Run, count: int = 2) -> pd.DataFrame:
    """Show test recordings on paper with their prediction: right and wrong ones in
    turn, the most confident first.

    Returns:
        Their rows of ``predictions.csv``, without the logits.
    """
    predictions = use_run(run).predictions
    confidence = predictions.filter(regex="^probability_").max(axis=1)
    order = confidence.sort_values(ascending=False, kind="stable").index
    correct = predictions["correct"][order].astype(bool)
    positions = []  # rows of predictions.csv; None where one kind has run out
    for right, wrong in zip_longest(order[correct], order[~correct]):
        positions += [right, wrong]
    chosen = [position for position in positions if position is not None][:count]
    for position in chosen:
        name = f"example_{predictions['record_id'][position]}"
        _save_and_display(run, name, draw_test_example(run, position))
    logits = [f"logit_{name}" for name in run.classes]
    return predictions.loc[chosen].drop(columns=logits)


def recording(source: Source, run: Model = "latest", **reading: Any) -> pd.DataFrame:
    """Show a new recording on paper with the prediction of a run or bundle.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or the path of a model (see `ecgnb.predict`).
        **reading: what the file does not state, such as ``fs=500``.

    Returns:
        The prediction, see `ecgnb.predict`.
    """
    signal = read_source(source, reading)
    model = open_model(run)
    model.say_title()
    table, probabilities = predict_one(model.bundle, signal)
    figure, _ = plot_ecg(
        signal, probabilities=probabilities, predicted=table["prediction"].iloc[0]
    )
    _display(figure)
    return model.named(table)


def explanation(
    source: Source,
    run: Model = "latest",
    method: str | None = None,
    target: str | None = None,
    save_to: str | Path | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Show on paper which samples of a recording raise the score of a class; of a long
    recording the ten seconds with most of the relevance.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or the path of a model (see `ecgnb.predict`).
        method: one of `ecgnb.explain.EXPLAINERS`; by default one that suits the model.
        target: the class; by default the one with the highest probability.
        save_to: ``.png`` file for the figure; a notebook displays it anyway.
        **reading: what the file does not state, such as ``fs=500``.

    Returns:
        One row per lead: its share of the positive relevance, and where it is largest.
    """
    result = explain_recording(source, run, method, target, **reading)
    figure, _ = plot_attribution(
        result.recording,
        result.attribution,
        probabilities=result.probabilities,
        predicted=result.prediction,
        target=result.target,
        start=result.densest_second(),
    )
    _display(figure, save_to)
    return result.table()


def attention(
    source: Source,
    run: Model = "latest",
    layer: int = -1,
    save_to: str | Path | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Show on paper where a transformer attends in a recording; it is the same for all
    classes.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or the path of a model, with or without a
            classifier.
        layer: which layer's attention; the last by default.
        save_to: ``.png`` file for the figure; a notebook displays it anyway.
        **reading: what the file does not state, such as ``fs=500``.

    Returns:
        One row per second: the mean and the largest attention, from 0 to 1.
    """
    result = attend_recording(source, run, layer, **reading)
    figure, _ = plot_ecg(
        result.recording,
        overlay=result.attribution,
        shaded="the model's attention, scaled in each window",
        start=result.densest_second(),
    )
    _display(figure, save_to)
    samples = np.arange(len(result.attribution))  # one attention for all leads
    seconds = (samples / result.recording.fs).astype(int)
    by_second = pd.Series(result.attribution).groupby(seconds)
    return by_second.agg(["mean", "max"]).rename_axis("second").reset_index()


def comparison_of_starts(of: pd.DataFrame) -> None:
    """Show what a pretrained model brings, beside its baselines
    (`ecgnb.compare_starts`).
    """
    _display(plot_starts(of))


def comparison(of: Comparison) -> None:
    """Show how far each layer of a ported model is from Keras, and both from float64
    (`ecgnb.port.compare`).
    """
    _display(of.plot())


def _save_and_display(run: Run, name: str, figure: Figure) -> None:
    save_figure(figure, run.figures, name)
    _display(figure)


def _display(figure: Figure, save_to: str | Path | None = None) -> None:
    """Write a figure to ``save_to``, and display it if this is a notebook."""
    if save_to is not None:
        with atomic_write(Path(save_to)) as temporary:
            temporary.write_bytes(png_bytes(figure))
    if "ipykernel" in sys.modules:  # a script has nowhere to display it
        from IPython.display import Image, display

        display(Image(png_bytes(figure), alt=figure.get_suptitle()))
