"""Every figure of a run is saved, and its table returned."""

from __future__ import annotations

import numpy as np
import pandas as pd

import ecgnb


def test_show_keeps_a_png_and_an_svg_and_returns_the_table(finished_run) -> None:
    metrics = finished_run.metrics
    shown = {
        "label_coverage": lambda table: table["records"].iloc[0] == 80,
        "label_counts": lambda table: table["records"].sum() == 80,
        "class_examples": lambda table: list(table["class"]) == list(finished_run.classes),
        "training_curves": lambda table: len(table) == 2,
        "per_class": lambda table: table["support"].sum() == metrics["n_records"],
        "roc": lambda table: np.isclose(table["auroc"].iloc[:5].mean(), metrics["headline"]["macro_auroc"]),
        "precision_recall": lambda table: np.isclose(table["prevalence"].sum(), 1),
        "confusion": lambda table: table.to_numpy().tolist() == metrics["confusion_matrix"],
        "reliability": lambda table: set(table["which"]) == {"before", "after"},
        "score_histograms": lambda table: len(table) == 5,
    }  # fmt: skip
    for name, is_right in shown.items():
        table = getattr(ecgnb.show, name)(finished_run)
        assert isinstance(table, pd.DataFrame) and is_right(table), name
        kinds = {path.suffix for path in finished_run.figures.glob(f"{name}_*")}
        assert kinds == {".png", ".svg"}, name
    assert len(ecgnb.show.test_examples(finished_run, count=2)) == 2
    assert ecgnb.show.model(finished_run).iloc[-1]["part"] == "total"
