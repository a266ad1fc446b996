"""Comparison of a pretrained model with its baselines, on the same recordings and
splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ecgnb.core.progress import say
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.opening import open_bundle
from ecgnb.models.base import options_of
from ecgnb.run.project import input_path, project_path
from ecgnb.run.run import Run
from ecgnb.run.session import open_run
from ecgnb.stages.cohort import load_cohort
from ecgnb.stages.evaluate import evaluate, headline_table
from ecgnb.stages.prepare import prepare
from ecgnb.stages.split import split
from ecgnb.stages.train import train

#: Ways to start: whether with the pretrained weights, and parameters of the training.
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "linear probe, pretrained encoder": (True, {"FREEZE": "body"}),
    "linear probe, random encoder": (False, {"FREEZE": "body"}),
    "fine-tuned": (True, {"LAYER_DECAY": 0.75}),  # rate * 0.75 per layer from the top
    "trained from scratch": (False, {}),
}


def compare_starts(
    start_from: str, parameters: Mapping[str, Any] | None = None, **more: Any
) -> pd.DataFrame:
    """Train and evaluate with and without a pretrained model.

    A probe trains a linear classifier on embeddings of a frozen encoder; its baseline
    is the same encoder with random weights. Fine-tuning trains all of it, earlier
    layers more slowly; its baseline is the same architecture trained from scratch. Each
    way is a run, which is not repeated when it is done, and which does not become the
    latest one.

    Args:
        start_from: a foundation model's checkpoint, or the folder of a bundle.
        parameters: of the runs, such as ``{"DATASET": "ptbxl", "DATASET_DIR":
            "data/ptbxl"}``; by default the recordings are prepared as for the training
            of the pretrained model.
        **more: parameters as keywords, with priority.

    Returns:
        One row per way: ``start, macro_auroc, low, high, macro_f1, records_per_s, run``
        on the test split, the interval over patients.
    """
    start_from = input_path(start_from)
    bundle = open_bundle(start_from)
    common = {**preparation_of(bundle), **(parameters or {}), **more}
    architecture = _architecture(bundle)
    del bundle  # it may be large
    rows = []
    for start, (is_pretrained, changes) in WAYS.items():
        say(f"{start}:")
        model = {"START_FROM": project_path(start_from)}
        if not is_pretrained:
            model = architecture
        run = open_run({**common, **model, **changes}, part_of="compare_starts")
        for stage in (load_cohort, prepare, split, train, evaluate):
            stage(run)
        rows.append({"start": start, **_results(run)})
    return pd.DataFrame(rows)


def preparation_of(bundle: Bundle) -> dict[str, Any]:
    """Return the parameters of a run that prepares recordings as for a bundle's
    model.
    """
    names = ("target_fs", "target_samples", "leads", "crop", "resampling", "filters")
    parameters = {name.upper(): getattr(bundle.prepare, name) for name in names}
    return {**parameters, "TRANSFORMS": bundle.transforms.specs()}


def _architecture(bundle: Bundle) -> dict[str, Any]:
    """Return the parameters of a run that trains the same network from random
    weights.
    """
    # The codebook serves the pretraining only.
    spec = {**bundle.model.spec(), "codebook": None}
    options = {
        name: spec[name]
        for name in options_of(type(bundle.model))
        if spec.get(name) is not None
    }
    return {"MODEL": spec["name"], "MODEL_OPTIONS": options}


def _results(run: Run) -> dict[str, Any]:
    headline = headline_table(run).set_index("metric")
    auroc = headline.loc["macro_auroc"]
    return {
        "macro_auroc": auroc["value"],
        "low": auroc["low"],
        "high": auroc["high"],
        "macro_f1": headline.loc["macro_f1", "value"],
        "records_per_s": run.history["records_per_s"].mean(),
        "run": run.name,
    }
