"""Stage 6: everything about a run in one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ecgnb.core.environment import describe_environment, package_version
from ecgnb.figures.html_report import Section
from ecgnb.figures.html_report import write_report as write_html
from ecgnb.run.run import Run
from ecgnb.stages import figures
from ecgnb.stages.environment_report import environment_table
from ecgnb.stages.evaluate import evaluation_inputs, headline_table, per_class_table
from ecgnb.stages.prepare import preparation_table
from ecgnb.stages.split import split_table

HOW_MEASURED = (
    "All numbers below are from the test split, which neither training nor any choice has seen. The epoch was chosen "
    "on the validation split, and so were the temperature and, for several labels a recording, the thresholds. "
    "Intervals are {confidence:.0%} bootstrap intervals ({resamples} resamples of whole patients); calibration errors "
    "of resamples are biased upwards, so with few recordings their value may lie below its interval."
)
#: Rejected recordings listed in the report; the rest is in rejected.csv.
REJECTED_SHOWN = 20


def write_report(run: Run) -> pd.DataFrame:
    """Write ``report.html`` with data, splits, training, evaluation, figures,
    parameters and environment.

    Returns:
        Where the results lie, within the project's folder: ``what, where``.
    """
    run.require("evaluate")
    run.require_current("evaluate", evaluation_inputs(run))
    sections = [
        section(run)
        for section in (_data, _splits, _training, _evaluation, _examples, _reproduce)
    ]
    write_html(
        run.path("report.html"),
        title=f"{run.config.data.name}: {run.config.model.label}, {len(run.classes)} classes",
        summary=_summary(run),
        sections=sections,
        footer=f"Run {run.name}, made with ecgnb {package_version('ecgnb')}.",
    )
    run.finish("report", {"train": run.require("train")["identity"]})
    places = run.result_paths()
    where = [place.relative_to(run.root).as_posix() for place in places.values()]
    return pd.DataFrame({"what": list(places), "where": where})


def _summary(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    shown = {row["metric"]: row for row in metrics["intervals"]}
    names = [
        name
        for name in ("macro_auroc", "macro_f1", "accuracy", "f_max")
        if name in shown
    ]
    return {
        **{_words(name): _with_interval(shown[name]) for name in names},
        "test recordings": metrics["n_records"],
        "classes": ", ".join(run.classes)
        if len(run.classes) <= 8
        else len(run.classes),
        "leaks between splits": metrics["split"]["leaks"],
    }


def _with_interval(row: dict[str, Any]) -> str:
    from ecgnb.figures.style import with_interval

    value, low, high = (
        float("nan") if row[name] is None else row[name]
        for name in ("value", "low", "high")
    )
    return with_interval(value, low, high)


def _words(metric: str) -> str:
    return (
        metric.replace("_", " ")
        .replace("auroc", "AUROC")
        .replace("f1", "F1")
        .replace("f max", "F-max")
    )


def _data(run: Run) -> Section:
    rejected = run.store.rejected[["record_id", "reason", "message"]]
    tables = [
        ("Labels: what became of each recording that was found", run.coverage),
        ("Preparation", preparation_table(run)),
    ]
    if len(rejected):
        shown = rejected.head(REJECTED_SHOWN)
        tables.append((f"Rejected recordings ({len(shown)} of {len(rejected)})", shown))
    return Section(
        "Data",
        tables=tables,
        figures=list(_drawn(run, "label_counts", "class_examples")),
    )


def _splits(run: Run) -> Section:
    leaks = run.require("split")["leaks"]
    checked = (
        "No patient and no identical signal is in two splits."
        if not leaks
        else f"{leaks} LEAKS were found."
    )
    return Section(
        "Splits",
        text=" ".join([checked, *run.splits.report.get("warnings", [])]),
        tables=[("Recordings of each class in each part", split_table(run))],
    )


def _training(run: Run) -> Section:
    result = run.require("train")
    monitor = run.config.training.for_task(run.task).monitor
    text = (
        f"{run.config.model.label}, trained on {len(run.splits.train)} recordings; "
        f"the weights of epoch {result['best_epoch']} were kept (best {_words(monitor)} on validation)."
    )
    return Section("Training", text=text, figures=list(_drawn(run, "training_curves")))


def _evaluation(run: Run) -> Section:
    metrics = run.metrics
    text = HOW_MEASURED.format(
        confidence=metrics["confidence"],
        resamples=run.config.evaluation.bootstrap_resamples,
    )
    names = (
        "per_class",
        "roc",
        "precision_recall",
        "confusion",
        "reliability",
        "score_histograms",
    )
    return Section(
        "Evaluation",
        text=" ".join([text, *metrics["warnings"]]),
        tables=[
            (
                "Headline numbers",
                headline_table(run).assign(
                    metric=lambda table: table["metric"].map(_words)
                ),
            ),
            ("Each class", per_class_table(run)),
            ("Calibration", _calibration(metrics)),
        ],
        figures=list(_drawn(run, *names)),
    )


def _calibration(metrics: dict[str, Any]) -> pd.DataFrame:
    """Compare the numbers that temperature scaling changes, before and after."""
    rows = [
        {
            "number": _words(name),
            "before": metrics["uncalibrated"][name],
            "after": metrics["headline"][name],
        }
        for name in metrics["uncalibrated"]
    ]
    return pd.DataFrame(
        [
            *rows,
            {"number": "temperature", "before": 1.0, "after": metrics["temperature"]},
        ]
    )


def _examples(run: Run) -> Section:
    predictions = run.predictions
    places = [group.index[0] for _, group in predictions.groupby("correct", sort=False)]
    drawn = []
    for place in sorted(places):
        row = predictions.loc[place]
        caption = f"Test recording {row['record_id']}: labelled {row['label']}, predicted {row['prediction'] or 'none'}."
        drawn.append((caption, figures.draw_test_example(run, place)[0]))
    return Section(
        "Examples",
        text="One test recording that was called rightly and one wrongly.",
        figures=drawn,
    )


def _reproduce(run: Run) -> Section:
    unused = (
        ("MODEL", "MODEL_OPTIONS") if run.config.model.start_from else ()
    )  # START_FROM stands in place of both
    parameters = {
        name: value
        for name, value in run.config.parameters().items()
        if name not in unused
    }
    table = pd.DataFrame(
        {
            "parameter": list(parameters),
            "value": [str(value) for value in parameters.values()],
        }
    )
    environment = environment_table(describe_environment(run.root))
    return Section(
        "Parameters and environment",
        text="The same parameters, recordings and versions give the same numbers on the same machine.",
        tables=[("Parameters", table), ("Environment", environment)],
    )


def _drawn(run: Run, *names: str) -> Iterator[tuple[str, Any]]:
    for name in names:
        caption, draw = figures.FIGURES[name]
        yield caption, draw(run)[0]
