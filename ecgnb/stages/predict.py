"""Predictions with the model of a run, for recordings of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecgnb.core.errors import CheckpointError
from ecgnb.run.run import Run
from ecgnb.run.session import find_run

if TYPE_CHECKING:
    from ecgnb.data.recording import Recording
    from ecgnb.deploy.bundle import Bundle
    from ecgnb.deploy.inference import Inference, Source


def predict(
    sources: str | Path | Recording | Iterable[str | Path | Recording],
    run: str | Path | Run = "latest",
    **reading: Any,
) -> pd.DataFrame:
    """Predict one or many recordings in one line.

    Args:
        sources: a file (WFDB, MATLAB, CSV, NumPy), a folder with recordings in or below
            it, a `Recording`, or many of them.
        run: a run, its name, "latest", or a model by where it lies: folder of a bundle
            or of a ported model, checkpoint of a foundation model
            (`ecgnb.deploy.opening.open_bundle`).
        **reading: how to read files that do not say it themselves, such as ``fs=500``
            or ``units="uV"``.

    Returns:
        A row a recording with the prediction and the probability of each class (see
        `ecgnb.deploy.predict.predict`).

    Raises:
        ReadError: a single recording was given and cannot be used, or a folder holds
            none.
        StageError, CheckpointError, ConfigError: see `find_bundle`; the last also when
            the model has no classifier.

    >>> ecgnb.predict("my_recording.csv", fs=500)  # doctest: +SKIP
    """
    from ecgnb.deploy.predict import predict as predict_with

    return predict_with(find_bundle(run), files_in_folders(sources), **_given(reading))


def infer_recordings(
    sources: str | Path | Recording | Iterable[str | Path | Recording],
    run: str | Path | Run = "latest",
    embeddings: bool = False,
    **reading: Any,
) -> Inference:
    """Predict recordings, and keep what their windows gave, embeddings and a record of
    how it was done.

    Args:
        sources: as for `predict`.
        run: as for `predict`.
        embeddings: whether to return the vector that the classifier sees, for each
            window; a pretrained model without a classifier gives nothing else.
        **reading: as for `predict`, and ``batch_size``, windows at a time.

    Returns:
        Tables, embeddings and record; ``.save(folder)`` writes them (see
        `ecgnb.deploy.inference.Inference`).

    Raises:
        ReadError, StageError, CheckpointError: as for `predict`.

    >>> ecgnb.infer_recordings("recordings", embeddings=True).save("results")  # doctest: +SKIP
    """
    from ecgnb.deploy.inference import infer

    return infer(
        find_bundle(run),
        files_in_folders(sources),
        embeddings=embeddings,
        **_given(reading),
    )


def find_bundle(run: str | Path | Run) -> Bundle:
    """Load the bundle of a run, or what `ecgnb.deploy.opening.open_bundle` finds under
    that name.

    Raises:
        StageError: the run is not evaluated yet, so that it has no bundle.
        CheckpointError: the bundle is damaged.
        ConfigError: a port has no contract, or a checkpoint's labels have no known
            names.
    """
    from ecgnb.deploy.bundle_folder import load_bundle
    from ecgnb.deploy.opening import is_bundle, open_bundle
    from ecgnb.hub.huggingface import WEIGHTS

    if isinstance(run, str | Path):
        missing_place = not Path(run).exists() and (
            Path(run).suffix in WEIGHTS or len(Path(run).parts) > 1
        )
        if is_bundle(run) or missing_place:  # which tells that there is nothing
            return open_bundle(run)
        if Path(run).is_dir() and not (Path(run) / "config.json").is_file():
            raise CheckpointError(
                f"The folder {run} holds neither a bundle nor a port. `ecgnb port convert` writes ports."
            )
    found = run if isinstance(run, Run) else find_run(str(run))
    found.require("evaluate")
    return load_bundle(found.path("bundle"))


def _given(reading: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reading.items() if value is not None}


def files_in_folders(sources: Source | Iterable[Source]) -> Source | list[Source]:
    """Put the recordings in and below a folder in its place; anything else stays as it
    is.

    Raises:
        ReadError: ``empty``, when a folder holds none.
    """
    from ecgnb.data.recording import Recording

    if isinstance(sources, str | Path):
        return _recordings_below(Path(sources)) if _is_folder(sources) else sources
    if isinstance(sources, Recording):
        return sources
    listed: list[Source] = []
    for source in sources:
        listed += _recordings_below(Path(source)) if _is_folder(source) else [source]  # type: ignore[arg-type]
    return listed


def _is_folder(source: Source) -> bool:
    """Tell a folder from a WFDB record of the same name."""
    from ecgnb.data.readers.wfdb_header import header_path

    return (
        isinstance(source, str | Path)
        and Path(source).is_dir()
        and not header_path(source).is_file()
    )


def _recordings_below(folder: Path) -> list[Source]:
    from ecgnb.data.catalog import find_records

    return [Path(path) for path in find_records("folder", folder)["path"]]
