"""Stage 3: training, validation and test."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from ecgnb.core.errors import LabelError
from ecgnb.core.files import fingerprint
from ecgnb.core.progress import say
from ecgnb.data.labels.targets import encode
from ecgnb.data.splits.splits import find_leakage, make_splits, write_splits
from ecgnb.run.run import Run


def split(run: Run) -> pd.DataFrame:
    """Split the prepared recordings, check for leakage and keep the result in
    ``splits.json``.

    Returns:
        A row a class with its recordings in each part, then a row with the leaks that
        were found.
    """
    inputs = split_inputs(run)
    if not run.is_done("split", inputs):
        records = run.records
        targets = encode(records.set_index("record_id")["label"], run.classes, run.task)
        _require_a_choice(records["label"])
        splits = make_splits(records, targets, run.config.split, run.classes)
        write_splits(run.path("splits.json"), splits, records, inputs["store"])
        leaks = len(find_leakage(records, splits))
        run.finish(
            "split",
            inputs,
            files=["splits.json"],
            fingerprint=fingerprint(splits.parts),
            leaks=leaks,
        )
        for warning in splits.report["warnings"]:
            say(warning)
    return split_table(run)


def _require_a_choice(labels: pd.Series) -> None:
    """Refuse recordings that are all alike: whatever a model says of them is right, and
    every score is perfect.
    """
    found = labels.unique()
    if len(found) == 1:
        name = found[0] or "nothing"
        raise LabelError(
            f"All {len(labels)} prepared recordings are labelled {name!r}, so there is nothing to tell apart. "
            "Add recordings of another class (PREPROCESS_LIMIT, the label file), or take other classes (LABEL_ORDER)."
        )


def split_inputs(run: Run) -> dict[str, Any]:
    """Return what the splits are made from: the stored recordings, their labels and how
    to split.
    """
    return {
        "config": dataclasses.asdict(run.config.split),
        "store": run.require("prepare")["content"],
        "labels": fingerprint(run.records["label"].tolist()),
    }


def split_table(run: Run) -> pd.DataFrame:
    """Count each class in each part; the last rows give totals, patients and leaks."""
    records, splits = run.records, run.splits
    parts = splits.parts
    one_hot = (
        records["label"]
        .str.get_dummies("|")
        .reindex(columns=list(run.classes), fill_value=0)
    )
    table = pd.DataFrame(
        {part: one_hot.iloc[rows].sum() for part, rows in parts.items()}
    )
    table.loc["recordings"] = [len(rows) for rows in parts.values()]
    table.loc["patients"] = [
        _count_patients(records.iloc[rows]) for rows in parts.values()
    ]
    table["all"] = table.sum(axis=1)
    table.loc["in two parts"] = run.require("split")["leaks"]
    return table.rename_axis("class").reset_index()


def _count_patients(records: pd.DataFrame) -> int:
    """A recording of an unknown patient counts as a patient of its own."""
    known = records.loc[records["patient_id"] != "", "patient_id"]
    return int(known.nunique() + (len(records) - len(known)))
