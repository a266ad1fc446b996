"""Stage 6, report: everything about a run in one HTML file."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ecgnb.core.environment import package_version
from ecgnb.core.progress import say
from ecgnb.evaluation.metrics import FEW_PATIENTS
from ecgnb.figures import FIGURES
from ecgnb.figures.html_report import Section
from ecgnb.figures.html_report import write_report as write_html
from ecgnb.figures.plots import class_scores_text
from ecgnb.figures.style import format_interval
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.stages.environment_report import environment_table, run_environment
from ecgnb.stages.evaluate import (
    decision_table,
    evaluation_inputs,
    headline_table,
    per_class_table,
)
from ecgnb.stages.figure_values import draw_figure, draw_test_example
from ecgnb.stages.prepare import preparation_table, require_current_preparation
from ecgnb.stages.split import split_table

HOW_MEASURED = (
    "All numbers below are from the test split, which neither training nor any choice "
    "has used. The epoch was chosen on the validation split, and so were the "
    "correction of the prior, the temperature and, for several labels per recording, "
    "the thresholds ({criterion}). Intervals are {confidence:.0%} intervals over "
    "patients: score intervals, and the bootstrap ({resamples} resamples of whole "
    "patients) for numbers that are no shares; "
    "calibration errors of resamples are biased upwards, so with few recordings their "
    "value may be below its interval."
)
DECISIONS_CAPTION = (
    "What each criterion of the decisions gives; none: the most probable class, or a "
    "threshold of 0.5. Compare them on validation: a choice by the test rows would "
    "make the test results too good"
)
#: Rejected recordings listed in the report; the rest is in rejected.csv.
REJECTED_SHOWN = 20
#: Sections of the figures of each stage; those of other stages are in "Evaluation".
SECTIONS = {
    "cohort": "Data",
    "prepare": "Data",
    "split": "Splits",
    "train": "Training",
}


def write_report(run: Run) -> pd.DataFrame:
    """Write ``report.html`` with data, splits, training, evaluation, figures,
    parameters and environment.

    Returns:
        The results as ``what, folder, file``; folders are within the project's folder.
    """
    use_run(run)
    run.require("evaluate")
    require_current_preparation(run)
    run.require_current("evaluate", evaluation_inputs(run))
    classes = f"{len(run.classes)} classes"
    inputs = {"train": run.require("train")["identity"]}
    with run.work("report", inputs, again=True):
        write_html(
            run.path("report.html"),
            title=f"{run.config.data.name}: {run.config.model.label}, {classes}",
            summary=_summary(run),
            sections=[
                _data_section(run),
                _split_section(run),
                _training_section(run),
                _evaluation_section(run),
                _example_section(run),
                _parameter_section(run),
            ],
            footer=f"Run {run.name}, made with ecgnb {package_version('ecgnb')}.",
        )
        run.finish("report", inputs, files=("report.html",))
    rows = []
    for what, path in run.result_paths().items():
        # In two columns, because pandas cuts cells after 50 characters in a notebook.
        relative = path.relative_to(run.root)
        rows.append((what, relative.parent.as_posix(), relative.name))
    return pd.DataFrame(rows, columns=["what", "folder", "file"])


def draw_figures(run: Run, section: str) -> tuple[list[tuple[str, Any]], str]:
    """Draw the registered figures of a section (by `SECTIONS`).

    Returns:
        Pairs of caption and figure, sorted by ``order``, and a paragraph for each
        figure that could not be drawn, with the reason.
    """
    figures, failures = [], []
    # Figures without an order come last.
    for name in sorted(FIGURES, key=lambda name: FIGURES.about(name).get("order", 1e9)):
        about = FIGURES.about(name)
        if SECTIONS.get(about.get("needs", ""), "Evaluation") != section:
            continue
        caption = about.get("caption", name)
        try:
            figures.append((caption, draw_figure(run, name)[0]))
        except Exception as error:  # a figure from outside must not cost the report
            kind = type(error).__name__
            failure = f"The figure {name!r} could not be drawn ({kind}): {error}"
            say(failure)
            failures.append(failure)
    return figures, "\n\n".join(failures)


def _summary(run: Run) -> dict[str, Any]:
    metrics, classes = run.metrics, len(run.classes)
    headline = headline_table(run).set_index("metric").astype(float)
    facts: dict[str, Any] = {}
    names = (
        "challenge_f1",
        "challenge_score",
        "macro_auroc",
        "macro_f1",
        "accuracy",
        "f_max",
    )
    for name in names:
        if name in headline.index:  # the task decides which there are
            facts[_metric_label(name)] = format_interval(*headline.loc[name])
    facts["test recordings"] = metrics["n_records"]
    facts["classes"] = ", ".join(run.classes) if classes <= 8 else classes  # one line
    facts["leaks between splits"] = metrics["split"]["leaks"]
    return facts


def _metric_label(metric: str) -> str:
    label = metric.replace("_", " ").replace("auroc", "AUROC")
    return label.replace("f1", "F1").replace("f max", "F-max")


def _section(run: Run, title: str, text: str = "", tables: Any = ()) -> Section:
    """Return a section with its registered figures."""
    figures, failures = draw_figures(run, title)
    return Section(title, f"{text}\n\n{failures}", tables, figures)


def _data_section(run: Run) -> Section:
    rejected = run.store.rejected[["record_id", "reason", "message"]]
    losses = run.require("prepare").get("losses", [])  # lines that `prepare` printed
    labels = "Labels: how many recordings have one, and what became of the others"
    tables = [(labels, run.coverage), ("Preparation", preparation_table(run))]
    if len(rejected):
        shown = rejected.head(REJECTED_SHOWN)
        tables.append((f"Rejected recordings ({len(shown)} of {len(rejected)})", shown))
    return _section(run, "Data", "\n\n".join(losses), tables)


def _split_section(run: Run) -> Section:
    leaks = run.require("split")["leaks"]
    text = "No patient, identical signal, twin or copy is in two splits."
    if leaks:
        text = f"{leaks} LEAKS between the splits."
    text = " ".join([text, *run.splits.report.get("warnings", [])])
    tables = [("Recordings of each class in each part", split_table(run))]
    copies = pd.DataFrame(run.splits.report.get("copies", {}).get("pairs", []))
    if len(copies):
        tables.append((f"The first {len(copies)} copies", copies))
    return _section(run, "Splits", text, tables)


def _training_section(run: Run) -> Section:
    trained = run.require("train")
    best_epoch = trained["best_epoch"]
    goal = f"best {_metric_label(trained['monitor'])}, of equal ones the lowest loss,"
    if trained["monitor"] == "loss":
        goal = "lowest loss"
    text = (
        f"{run.config.model.label}, trained on {len(run.splits.train)} recordings; "
        f"the weights of epoch {best_epoch} were kept ({goal} "
        "on validation)."
    )
    return _section(run, "Training", text)


def _evaluation_section(run: Run) -> Section:
    metrics = run.metrics
    resamples = run.config.evaluation.bootstrap_resamples
    text = HOW_MEASURED.format(
        confidence=metrics["confidence"],
        resamples=resamples,
        criterion=f"DECISION_CRITERION={metrics['decision_criterion']}",
    )
    text = " ".join([text, *metrics["warnings"]])
    headline = headline_table(run)
    headline["metric"] = headline["metric"].map(_metric_label)
    rows = []
    for name, before in metrics["uncalibrated"].items():  # Brier score, ECE
        rows.append((_metric_label(name), before, metrics["headline"][name]))
    rows.append(("temperature", 1.0, metrics["temperature"]))
    rows.append(("part of the log prior added", 0.0, metrics["prior_strength"]))
    calibration = pd.DataFrame(rows, columns=["number", "before", "after"])
    tables = [
        ("Headline numbers", headline),
        (
            f"Each class, intervals in brackets; few: of which outcome there are fewer "
            f"than {FEW_PATIENTS} patients",
            class_scores_text(per_class_table(run)),
        ),
        ("Calibration", calibration),
        (DECISIONS_CAPTION, decision_table(run)),
    ]
    return _section(run, "Evaluation", text, tables)


def _example_section(run: Run) -> Section:
    predictions = run.predictions
    figures = []
    for position in predictions.drop_duplicates("correct").index:
        row = predictions.loc[position]
        caption = (
            f"Test recording {row['record_id']}: labelled {row['label'] or 'none'}, "
            f"predicted {row['prediction'] or 'none'}."
        )
        figures.append((caption, draw_test_example(run, position)))
    text = "The first right and the first wrong prediction of the test split."
    return Section("Examples", text, figures=figures)


def _parameter_section(run: Run) -> Section:
    parameters = run.config.parameters()
    if run.config.model.start_from:  # which replaces both
        del parameters["MODEL"], parameters["MODEL_OPTIONS"]
    values = map(str, parameters.values())
    table = pd.DataFrame({"parameter": list(parameters), "value": list(values)})
    environment = environment_table(run_environment(run))
    text = (
        "The same parameters, recordings and versions give the same numbers on the "
        "same machine."
    )
    return Section(
        "Parameters and environment",
        text,
        [("Parameters", table), ("Environment", environment)],
    )
