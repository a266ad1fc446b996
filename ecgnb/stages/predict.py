"""Predictions with the model of a run, for recordings of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecgnb.errors import CheckpointError
from ecgnb.run import Run
from ecgnb.session import find_run

if TYPE_CHECKING:
    from ecgnb.data.recording import Recording
    from ecgnb.deploy.bundle import Bundle


def predict(
    sources: str | Path | Recording | Iterable[str | Path | Recording],
    run: str | Run = "latest",
    **reading: Any,
) -> pd.DataFrame:
    """Predict one or many recordings in one line.

    Args:
        sources: a file (WFDB, MATLAB, CSV, NumPy), a `Recording`, or many of them.
        run: a run, its name, "latest", or the folder of a bundle or of a ported model.
        **reading: how to read files that do not say it themselves, such as ``fs=500`` or ``units="uV"``.

    Returns:
        A row a recording with the prediction and the probability of each class (see `ecgnb.deploy.predict.predict`).

    >>> ecgnb.predict("my_recording.csv", fs=500)  # doctest: +SKIP
    """
    from ecgnb.deploy.predict import predict as predict_with

    return predict_with(
        find_bundle(run), sources, **{name: value for name, value in reading.items() if value is not None}
    )


def find_bundle(run: str | Run) -> Bundle:
    """Load the bundle of a run, or the bundle or port in a folder.

    Raises:
        StageError: the run is not evaluated yet, so that it has no bundle.
        CheckpointError: the bundle is damaged.
        ConfigError: a port has no contract.
    """
    from ecgnb.deploy.bundle import DESCRIPTION, load_bundle
    from ecgnb.deploy.ported import open_bundle
    from ecgnb.port.folder import is_port

    if isinstance(run, str | Path) and (is_port(run) or (Path(run) / DESCRIPTION).is_file()):
        return open_bundle(run)
    if isinstance(run, str) and Path(run).is_dir():
        raise CheckpointError(f"The folder {run} holds neither a bundle nor a port. `ecgnb port convert` writes ports.")
    found = run if isinstance(run, Run) else find_run(run)
    found.require("evaluate")
    return load_bundle(found.path("bundle"))
