"""Predict recordings with the model of a run, or any other model: `predict`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from ecgnb.core.console import printable
from ecgnb.core.errors import CheckpointError
from ecgnb.core.progress import say
from ecgnb.data.catalog import find_records
from ecgnb.data.readers.wfdb_header import header_path
from ecgnb.data.recording import Recording
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle
from ecgnb.deploy.inference import Inference, Source, infer, predict_recordings
from ecgnb.deploy.opening import is_bundle, open_bundle
from ecgnb.hub.huggingface import WEIGHTS
from ecgnb.run.project import input_path
from ecgnb.run.run import Run
from ecgnb.run.session import find_run

#: A run, its name or "latest", or the path of a model or its name on the hub.
Model: TypeAlias = str | Path | Run


def predict(
    sources: Source | Iterable[Source], run: Model = "latest", **reading: Any
) -> pd.DataFrame:
    """Predict one or many recordings in one line.

    Args:
        sources: a file (WFDB, MATLAB, CSV, NumPy), a folder with recordings in or below
            it, a `Recording`, or many of them.
        run: a run, its name, "latest", or the path of a model: folder of a bundle or of
            a ported model, checkpoint of a foundation model
            (`ecgnb.deploy.opening.open_bundle`).
        **reading: how to read files that do not state it themselves, such as ``fs=500``
            or ``units="uV"``.

    Returns:
        One row per recording with the prediction and the probability of each class (see
        `ecgnb.deploy.inference.Inference`), and in the columns ``run`` and ``model``
        which model this is (see `OpenedModel`).

    Raises:
        ReadError: a single recording was given and cannot be used, or a folder contains
            none.
        StageError, CheckpointError, ConfigError: see `find_bundle`; the last also when
            the model has no classifier.

    >>> ecgnb.predict("my_recording.csv", fs=500)  # doctest: +SKIP
    """
    files = files_in_folders(sources)
    opened = open_model(run)
    opened.say_title()
    return opened.predict(files, **reading)


def infer_recordings(
    sources: Source | Iterable[Source],
    run: Model = "latest",
    embeddings: bool = False,
    **reading: Any,
) -> Inference:
    """Predict recordings, and return also their windows, embeddings and a record.

    Args:
        sources: as for `predict`.
        run: as for `predict`.
        embeddings: whether to return the vector that the classifier sees, for each
            window; a pretrained model without a classifier gives nothing else.
        **reading: as for `predict`, and ``batch_size``, windows at a time.

    Returns:
        Tables, embeddings and record; ``.save(folder)`` writes them. Table and record
        name the model, as `predict` does.

    Raises:
        ReadError, StageError, CheckpointError: as for `predict`.

    >>> ecgnb.infer_recordings("recordings").save("results")  # doctest: +SKIP
    """
    files = files_in_folders(sources)
    opened = open_model(run)
    opened.say_title()
    return opened.infer(files, embeddings=embeddings, **reading)


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to predict, and which one it is.

    Attributes:
        bundle: the model.
        run: name of the run that trained it, in a bundle as well; where there is none,
            the path of the model or its name on the hub.
        model: name of the architecture.
        title: run, model and, where it is no run of this project, its path in one line.
    """

    bundle: Bundle
    run: str
    model: str
    title: str

    def say_title(self) -> None:
        """Print which model this is."""
        say(self.title)

    def predict(self, files: Source | Iterable[Source], **reading: Any) -> pd.DataFrame:
        """Return the table of `predict_recordings`, with run and model."""
        return self.named(predict_recordings(self.bundle, files, **reading))

    def infer(self, files: Source | Iterable[Source], **options: Any) -> Inference:
        """Return what `ecgnb.deploy.inference.infer` does; its table and record name
        run and model.
        """
        inference = infer(self.bundle, files, **options)
        return replace(
            inference,
            table=self.named(inference.table),
            record={"run": self.run, **inference.record},
        )

    def named(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of recordings with the columns ``run`` and ``model``.

        A class with one of these names keeps its column.
        """
        names = {"run": self.run, "model": self.model}
        free = {name: text for name, text in names.items() if name not in table}
        return table.assign(**free)


def open_model(run: Model) -> OpenedModel:
    """Load the model of a run, or any other model by its path or name on the hub.

    Raises:
        StageError, CheckpointError, ConfigError: see `find_bundle`.
    """
    source = _run_or_name(run)
    bundle = find_bundle(source)
    model = bundle.model.spec()["name"]
    if isinstance(source, Run):
        title = f"Run {source.name}, model {model}"
        if source.states()["evaluate"] == "stale":
            title += ", trained before its recordings or labels changed"
        return OpenedModel(bundle, source.name, model, f"{title}.")
    # A bundle knows its run; ports and checkpoints have none.
    name = printable(str(bundle.provenance.get("run", "")))
    title = f"Run {name}, model {model}, bundle {run}"
    if not name:
        name, title = str(run), f"Model {run}, {model}"
    return OpenedModel(bundle, name, model, f"{title}.")


def find_bundle(run: Model) -> Bundle:
    """Load the bundle of a run, or a model by its path or name on the hub.

    A relative path is looked for in the project's folder first
    (`ecgnb.run.project.input_path`).

    Raises:
        StageError: the run is not evaluated yet, so that it has no bundle.
        CheckpointError: the bundle is damaged.
        ConfigError: a port has no contract, or a checkpoint's labels have no known
            names.
    """
    source = _run_or_name(run)
    if not isinstance(source, Run):
        return open_bundle(source)  # raises for a path that does not exist
    source.require("evaluate")
    return load_bundle(source.path("bundle"))


def _run_or_name(run: Model) -> Run | str:
    """Return the run, or the path or the name on the hub of any other model."""
    if isinstance(run, Run):
        return run
    name = input_path(run)
    path = Path(name)  # or the name of a run, or of a model on the hub
    looks_like_path = path.suffix in WEIGHTS or len(path.parts) > 1
    if is_bundle(name) or (looks_like_path and not path.exists()):
        return name
    if path.is_dir() and not (path / "config.json").is_file():
        raise CheckpointError(
            f"The folder {run} is neither a bundle nor a port. `ecgnb port "
            "convert` writes ports."
        )
    return find_run(name)


def files_in_folders(sources: Source | Iterable[Source]) -> Source | list[Source]:
    """Replace each folder by the recordings in and below it.

    Raises:
        ReadError: ``empty``, when a folder contains none.
    """
    if isinstance(sources, Recording):
        return sources
    if isinstance(sources, str | Path):
        return _recordings_below(sources) if _is_folder(sources) else sources
    files: list[Source] = []
    for source in sources:
        if not isinstance(source, Recording) and _is_folder(source):
            files += _recordings_below(source)
        else:
            files.append(source)
    return files


def _is_folder(source: str | Path) -> bool:
    """Return whether this is a folder, and not a WFDB record of the same name."""
    # A record "100" is the file 100.hea; a folder 100 may be beside it.
    return Path(source).is_dir() and not header_path(source).is_file()


def _recordings_below(folder: str | Path) -> list[Source]:
    return list(map(Path, find_records("folder", folder)["path"]))
