"""Stage 3: split into training, validation and test."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import LabelError
from ecgnb.core.files import fingerprint
from ecgnb.core.progress import say
from ecgnb.data.cell_text import patient_keys
from ecgnb.data.labels.targets import encode
from ecgnb.data.splits.copies import (
    describe_copies,
    find_copies,
    too_short_for_copies,
    with_copies,
)
from ecgnb.data.splits.leakage import find_leakage
from ecgnb.data.splits.splits import make_splits, write_splits
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.stages.prepare import require_current_preparation


def split(run: Run) -> pd.DataFrame:
    """Split the prepared recordings, check for leakage and write ``splits.json``.

    Returns:
        One row per class with its recordings in each part, then totals, patients and
        leaks.
    """
    use_run(run)
    run.require("prepare")  # names the first stage that is missing
    require_current_preparation(run)
    inputs = split_inputs(run)
    with run.work("split", inputs) as is_needed:
        if is_needed:
            _make_splits(run, inputs)
    return split_table(run)


def _make_splits(run: Run, inputs: dict[str, Any]) -> None:
    pairs = find_copies(run.store)
    records = with_copies(run.records, pairs)
    _require_two_labels(records["label"])
    splits = make_splits(
        records, targets_of(run, records), run.config.split, run.classes
    )
    copies = splits.report["copies"] = describe_copies(pairs, records)
    if copies["summary"]:
        splits.report["warnings"].append(copies["summary"])
    if warning := too_short_for_copies(run.store):
        splits.report["warnings"].append(" ".join(warning))
    write_splits(run.path("splits.json"), splits, records, inputs["store"])
    run.finish(
        "split",
        inputs,
        files=["splits.json"],
        fingerprint=fingerprint(splits.parts),
        leaks=len(find_leakage(records, splits.parts)),
    )
    for warning in splits.report["warnings"]:
        say(warning)


def _require_two_labels(labels: pd.Series) -> None:
    """Refuse recordings with a single label: any model would have a perfect score."""
    if labels.nunique() == 1:
        name = labels.iloc[0] or "nothing"
        raise LabelError(
            f"All {len(labels)} prepared recordings are labelled {name!r}, so there is "
            "nothing to tell apart. Add recordings of another class (PREPROCESS_LIMIT, "
            "the label file), or take other classes (LABEL_ORDER)."
        )


def split_inputs(run: Run) -> dict[str, Any]:
    """Return the inputs of the splits: the stored recordings, their labels and the
    configuration.
    """
    return {
        "config": dataclasses.asdict(run.config.split),
        "store": run.require("prepare")["content"],
        "labels": fingerprint(run.records["label"].tolist()),
    }


def targets_of(run: Run, records: pd.DataFrame) -> np.ndarray:
    """Return the targets of records: int64 ``[n]``, or float32 ``[n, n_classes]`` for
    multilabel.
    """
    labels = records.set_index("record_id")["label"]  # names the record in errors
    return encode(labels, run.classes, run.task)


def split_table(run: Run) -> pd.DataFrame:
    """Count each class in each part; the last rows are totals, patients and leaks."""
    records, parts = run.records, run.splits.parts
    one_hot = records["label"].str.get_dummies("|")  # a column per class that occurs
    one_hot = one_hot.reindex(columns=list(run.classes), fill_value=0)
    patients = patient_groups(records)
    counts = {}
    for part, rows in parts.items():
        counts[part] = one_hot.iloc[rows].sum()
        counts[part]["recordings"] = len(rows)
        counts[part]["patients"] = len(np.unique(patients[rows]))
    table = pd.DataFrame(counts)
    table["all"] = table.sum(axis=1)  # before the leaks, which are in two parts
    table.loc["in two parts"] = run.require("split")["leaks"]
    return table.rename_axis("class").reset_index()


def patient_groups(records: pd.DataFrame) -> np.ndarray:
    """Return a group number per recording, int64 ``[n]``: recordings of one patient of
    one data set share it, a recording of an unknown patient has its own.
    """
    patients = patient_keys(records["patient_id"])
    alone = "record " + records["record_id"]  # a group of its own
    names = patients.where(patients != "", alone)
    if "dataset" in records:
        names = records["dataset"] + ":" + names
    return pd.factorize(names)[0]
