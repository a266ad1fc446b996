"""Is a pretrained model worth it? The same recordings, the same splits, four ways to
begin, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecgnb.core.progress import say
from ecgnb.run.run import Run
from ecgnb.run.session import open_run
from ecgnb.stages.cohort import load_cohort
from ecgnb.stages.evaluate import evaluate
from ecgnb.stages.prepare import prepare
from ecgnb.stages.split import split
from ecgnb.stages.train import train

if TYPE_CHECKING:
    from ecgnb.deploy.bundle import Bundle

#: What each way trains, and whether it begins with the pretrained weights.
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "linear probe, pretrained encoder": (True, {"FREEZE": "body"}),
    "linear probe, random encoder": (False, {"FREEZE": "body"}),
    "fine-tuned": (True, {"LAYER_DECAY": 0.75}),
    "trained from scratch": (False, {}),
}


def compare_starts(
    start_from: str, parameters: Mapping[str, Any] | None = None, **more: Any
) -> pd.DataFrame:
    """Train and evaluate with and without a pretrained model: what it brings, against
    both baselines.

    A probe trains a linear classifier on embeddings of a frozen encoder; its baseline
    is the same encoder with random weights. Fine-tuning trains all of it, earlier
    layers more slowly; its baseline is the same architecture trained from scratch. Each
    way is a run of its own, which is not done again when it is done.

    Args:
        start_from: a foundation model's checkpoint, or the folder of a bundle.
        parameters: of the runs, such as ``{"DATASET": "ptbxl", "DATASET_DIR":
            "data/ptbxl"}``; the preparation is the one that the model has learnt with,
            unless they say otherwise.
        **more: parameters as keywords; they win.

    Returns:
        A row a way: ``start, macro_auroc, low, high, macro_f1, records_per_s, run`` on
        the test split, the interval over patients.
    """
    from ecgnb.deploy.opening import open_bundle

    bundle = open_bundle(start_from)
    given = {**preparation_of(bundle), **(parameters or {}), **more}
    architecture = _architecture(bundle)
    del bundle
    rows = []
    for start, (pretrained, changes) in WAYS.items():
        say(f"{start}:")
        begin = {"START_FROM": str(start_from)} if pretrained else architecture
        rows.append(
            {"start": start, **_outcome(_finished({**given, **begin, **changes}))}
        )
    return pd.DataFrame(rows)


def preparation_of(bundle: Bundle) -> dict[str, Any]:
    """Return the parameters of a run that prepares recordings as a bundle's model has
    learnt to see them.
    """
    prepare_config = bundle.prepare
    names = ("target_fs", "target_samples", "leads", "crop", "resampling", "filters")
    told = {name.upper(): getattr(prepare_config, name) for name in names}
    return {**told, "TRANSFORMS": bundle.transforms.specs()}


def _architecture(bundle: Bundle) -> dict[str, Any]:
    """Return the parameters of a run that trains the same network from random
    weights.
    """
    from ecgnb.models.base import options_of

    spec = {**bundle.model.spec(), "codebook": None}
    options = {
        name: spec[name]
        for name in options_of(type(bundle.model))
        if spec.get(name) is not None
    }
    return {"MODEL": spec["name"], "MODEL_OPTIONS": options}


def _finished(parameters: dict[str, Any]) -> Run:
    run = open_run(parameters)
    for stage in (load_cohort, prepare, split, train, evaluate):
        stage(run)
    return run


def _outcome(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    intervals = {row["metric"]: row for row in metrics["intervals"]}
    auroc = intervals["macro_auroc"]
    return {
        "macro_auroc": auroc["value"],
        "low": auroc["low"],
        "high": auroc["high"],
        "macro_f1": intervals["macro_f1"]["value"],
        "records_per_s": float(run.history["records_per_s"].mean()),
        "run": run.name,
    }
