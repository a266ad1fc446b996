"""ecgnb: a Jupyter-first research workbench for deep learning on electrocardiograms.

The names for notebooks are listed here and imported at their first use, so that `import
ecgnb` needs neither torch nor pandas. For the same reason, `open_run` and the command
import such packages inside functions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_FUNCTIONS = {
    "open_run": "ecgnb.run.session",
    "find_run": "ecgnb.run.session",
    "list_runs": "ecgnb.run.session",
    "input_path": "ecgnb.run.project",
    "output_path": "ecgnb.run.project",
    "environment_report": "ecgnb.stages.environment_report",
    "preflight": "ecgnb.run.preflight",
    "load_cohort": "ecgnb.stages.cohort",
    "prepare": "ecgnb.stages.prepare",
    "split": "ecgnb.stages.split",
    "train": "ecgnb.stages.train",
    "evaluate": "ecgnb.stages.evaluate",
    "write_report": "ecgnb.stages.report",
    "predict": "ecgnb.stages.predict",
    "read_recording": "ecgnb.data.readers.reading",
    "build_model": "ecgnb.models",
    "load_ecg_fm": "ecgnb.foundation.ecg_fm_checkpoint",
    "inspect_model": "ecgnb.foundation.ecg_fm_checkpoint",
    "infer_recordings": "ecgnb.stages.predict",
    "compare_starts": "ecgnb.stages.transfer",
    "make_bundle": "ecgnb.stages.bundling",
    "open_bundle": "ecgnb.deploy.opening",
    "save_bundle": "ecgnb.deploy.bundle_folder",
    "load_bundle": "ecgnb.deploy.bundle_folder",
    "lower_precision": "ecgnb.deploy.precision",
    "push_to_hub": "ecgnb.deploy.hub_bundles",
    "from_hub": "ecgnb.deploy.hub_bundles",
    "available": "ecgnb.stages.environment_report",
}
_MODULES = {
    "show": "ecgnb.stages.show",
    "port": "ecgnb.port",
    "explain": "ecgnb.explain",
}

__all__ = ["__version__", *_FUNCTIONS, *_MODULES]

if TYPE_CHECKING:
    from ecgnb import explain, port
    from ecgnb.data.readers.reading import read_recording
    from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
    from ecgnb.deploy.hub_bundles import from_hub, push_to_hub
    from ecgnb.deploy.opening import open_bundle
    from ecgnb.deploy.precision import lower_precision
    from ecgnb.foundation.ecg_fm_checkpoint import inspect_model, load_ecg_fm
    from ecgnb.models import build_model
    from ecgnb.run.preflight import preflight
    from ecgnb.run.project import input_path, output_path
    from ecgnb.run.session import find_run, list_runs, open_run
    from ecgnb.stages import show
    from ecgnb.stages.bundling import make_bundle
    from ecgnb.stages.cohort import load_cohort
    from ecgnb.stages.environment_report import available, environment_report
    from ecgnb.stages.evaluate import evaluate
    from ecgnb.stages.predict import infer_recordings, predict
    from ecgnb.stages.prepare import prepare
    from ecgnb.stages.report import write_report
    from ecgnb.stages.split import split
    from ecgnb.stages.train import train
    from ecgnb.stages.transfer import compare_starts


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in _FUNCTIONS:
        raise AttributeError(f"module 'ecgnb' has no attribute {name!r}")
    from ecgnb.core.interrupts import interrupts_deferred

    # A library that is interrupted while it loads cannot be loaded again.
    with interrupts_deferred():
        value: Any = importlib.import_module(_MODULES.get(name) or _FUNCTIONS[name])
    if name in _FUNCTIONS:
        value = getattr(value, name)
    globals()[name] = value  # not looked up again
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
