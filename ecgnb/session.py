"""`open_run`: everything a notebook cell needs is read back from the run's folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.config import RunConfig, parameters_from_namespace
from ecgnb.errors import CheckpointError, StageError
from ecgnb.files import fingerprint, make_folder, read_json, remove_leftovers, write_json

if TYPE_CHECKING:
    import pandas as pd

    from ecgnb.data.splits import Splits
    from ecgnb.data.store import SignalStore

#: The stages in order, each with the call that does it.
STAGES = {
    "cohort": "ecgnb.load_cohort(run)",
    "prepare": "ecgnb.prepare(run)",
    "split": "ecgnb.split(run)",
    "train": "ecgnb.train(run)",
    "evaluate": "ecgnb.evaluate(run)",
    "report": "ecgnb.write_report(run)",
}

# The run this process opened last. Two runs at once in one project each keep to their own.
_opened: Run | None = None


@dataclass(frozen=True)
class Run:
    """A run: a folder of results and the configuration that made them.

    Attributes:
        root: folder of the project, which holds ``artifacts``, ``figures`` and ``logs``.
        config: the resolved configuration.
    """

    root: Path
    config: RunConfig
    _memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """``<data set>-<profile>-<model>-<hash of the configuration>``."""
        config = self.config
        return f"{config.data.name}-{config.profile}-{config.model.model}-{config.key()}"

    @property
    def folder(self) -> Path:
        """Where the results lie."""
        return self.root / "artifacts" / "runs" / self.name

    @property
    def figures(self) -> Path:
        """Where the figures lie."""
        return self.root / "figures" / self.name

    @property
    def log_file(self) -> Path:
        """The run's log."""
        return self.root / "logs" / f"{self.name}.log"

    def path(self, *parts: str) -> Path:
        """Return a path inside the run's folder."""
        return self.folder.joinpath(*parts)

    # Stages: what is done, and from which input.

    def record(self, stage: str) -> dict[str, Any] | None:
        """Return what `finish` wrote about a stage, or None when it is not done (or nobody can tell any more)."""
        record = _read_dict(self.path("stages", f"{stage}.json"))
        return record if record.keys() >= {"inputs", "files", "results"} else None

    def is_done(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Tell whether ``stage`` was finished from exactly these inputs, and its files are still there and whole."""
        record = self.record(stage)
        return record is not None and record["inputs"] == fingerprint(dict(inputs)) and not self._damage(record)

    def finish(self, stage: str, inputs: Mapping[str, Any], files: Sequence[str] = (), **results: Any) -> None:
        """Note that ``stage`` is done; call it last, when all its files are whole.

        Args:
            stage: one of `STAGES`.
            inputs: everything that the results depend on.
            files: what the stage wrote, within the run's folder; with one of them gone or cut it is not done any more.
            **results: what later stages ask of this one.
        """
        self._memory.clear()
        for folder in (self.folder, self.figures):
            remove_leftovers(folder)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        sizes = {name: self.path(name).stat().st_size for name in files}
        write_json(
            self.path("stages", f"{stage}.json"),
            {"inputs": fingerprint(dict(inputs)), "finished": now, "files": sizes, "results": results},
        )

    def _damage(self, record: Mapping[str, Any]) -> str:
        """Say which of a stage's files is not what the stage left; "" when all are."""
        for name, size in record["files"].items():
            file = self.path(name)
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                return f"{file} is missing" if found is None else f"{file} has {found} bytes in place of {size}"
        return ""

    def require(self, stage: str) -> dict[str, Any]:
        """Return the results of a stage, or say which call makes them.

        Raises:
            StageError: the stage is not done yet, or a file that it left is gone or cut.
        """
        record = self.record(stage)
        if record is None:
            raise StageError(f"Stage {stage!r} of run {self.name} is not done yet. First run: {STAGES[stage]}")
        if damage := self._damage(record):
            raise StageError(
                f"{damage}: it was changed after stage {stage!r} of {self.name}. Run again: {STAGES[stage]}"
            )
        return record["results"]

    # What the stages left, read back.

    def _remembered(self, key: str, read: Any) -> Any:
        """Read a file once a process; `finish` forgets everything, so a stage done again is seen."""
        if key not in self._memory:
            self._memory[key] = read()
        return self._memory[key]

    def _read(self, stage: str, name: str, read: Callable[[Path], Any]) -> Any:
        """Read a file that a stage left."""
        self.require(stage)
        file = self.path(name)
        try:
            return read(file)
        except (OSError, ValueError, KeyError) as error:
            raise StageError(f"{file} cannot be read ({error}). Delete it and run again: {STAGES[stage]}") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(self.require("cohort")["classes"])

    @property
    def task(self) -> str:
        """What a label is: one class ("multiclass") or any number of them ("multilabel")."""
        return str(self.require("cohort")["task"])

    @property
    def manifest(self) -> pd.DataFrame:
        """The cohort: a row a recording, with its label."""
        from ecgnb.data.manifest import read_manifest

        return self._remembered("manifest", lambda: self._read("cohort", "manifest.csv", read_manifest))

    @property
    def store(self) -> SignalStore:
        """The prepared signals."""
        from ecgnb.data.store import SignalStore

        relative = self.require("prepare")["store"]
        return self._remembered("store", lambda: SignalStore.open(self.root / relative))

    @property
    def records(self) -> pd.DataFrame:
        """The store's records with the cohort's labels, a row a stored signal in the store's order."""
        return self._remembered("records", lambda: _with_labels(self.store.records, self.manifest))

    @property
    def coverage(self) -> pd.DataFrame:
        """What became of each recording that was found, and of each row of the label file: ``what, count, note``."""
        return self._read("cohort", "coverage.csv", _read_csv)

    @property
    def splits(self) -> Splits:
        """Rows of the store for training, validation and test."""
        from ecgnb.data.splits import read_splits

        self.require("split")
        store = self.require("prepare")["fingerprint"]
        return self._remembered("splits", lambda: read_splits(self.path("splits.json"), fingerprint=store))

    @property
    def history(self) -> pd.DataFrame:
        """Training history, a row an epoch."""
        return self._read("train", "history.csv", _read_csv)

    @property
    def metrics(self) -> dict[str, Any]:
        """Everything that evaluation measured on the test split."""
        return self._read("evaluate", "metrics.json", read_json)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row a test recording: its label, the prediction and the probabilities."""
        text = ("dataset", "record_id", "patient_id", "path", "label", "prediction")
        return self._read("evaluate", "predictions.csv", lambda file: _read_csv(file, text))

    def places(self) -> dict[str, Path]:
        """Return where the results lie, for people who look for them."""
        files = {
            "metrics": self.path("metrics.json"),
            "predictions": self.path("predictions.csv"),
            "figures": self.figures,
            "report": self.path("report.html"),
            "model bundle": self.path("bundle"),
            "log": self.log_file,
        }
        return {what: place for what, place in files.items() if place.exists()}

    def __repr__(self) -> str:
        done = [stage for stage in STAGES if self.record(stage)]
        return f"Run({self.name!r}, done: {', '.join(done) or 'nothing yet'})"


def open_run(parameters: Mapping[str, Any] | None = None, **more: Any) -> Run:
    """Open a run, or make it.

    With parameters (a notebook's ``globals()`` or keywords such as ``PROFILE="smoke"``) the run of that configuration
    is opened or made. With none, the run this process opened last; in a fresh process, the latest of the project. It
    takes milliseconds and changes nothing that is done, so every cell may begin with it.

    Args:
        parameters: upper-case names to values; other names are ignored, an unknown upper-case one is refused.
        **more: parameters as keywords; they win.

    Raises:
        ConfigError: an unknown parameter or a wrong type.
        StageError: no parameters, and no run was ever opened here.

    >>> run = open_run(PROFILE="smoke")  # doctest: +SKIP
    """
    global _opened
    given = {**parameters_from_namespace(parameters or {}), **more}
    if not given:  # also the globals() of a kernel that was restarted, whose parameters cell did not run again
        _opened = _opened or _latest_run(project_root())
        return _opened
    _opened = _start(Run(project_root(), RunConfig.from_parameters(given)))
    return _opened


def find_run(name: str) -> Run:
    """Open a run of this project by its name or its folder; "" or "latest" is the latest one.

    Raises:
        StageError: there is no such run; the message lists those there are.
    """
    root = project_root()
    if name in ("", "latest"):
        return _latest_run(root)
    folder = Path(name) if (Path(name) / "config.json").is_file() else root / "artifacts" / "runs" / name
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in (root / "artifacts" / "runs").glob("*/config.json"))
        raise StageError(f"There is no run {name!r}. Runs here: {', '.join(known) or 'none yet'}.")
    return _start(_read_run(folder.resolve()))


def list_runs() -> pd.DataFrame:
    """List the runs of this project, the newest first: ``run, last stage, changed``."""
    import pandas as pd

    rows = []
    for file in (project_root() / "artifacts" / "runs").glob("*/config.json"):
        stages = [stage for stage in STAGES if (file.parent / "stages" / f"{stage}.json").is_file()]
        changed = max(path.stat().st_mtime for path in (file, *file.parent.glob("stages/*.json")))
        when = datetime.fromtimestamp(changed).isoformat(sep=" ", timespec="seconds")
        rows.append({"run": file.parent.name, "last stage": stages[-1] if stages else "", "changed": when})
    table = pd.DataFrame(rows, columns=["run", "last stage", "changed"])
    return table.sort_values("changed", ascending=False, ignore_index=True)


def project_root() -> Path:
    """Return the project's folder: ``ECGNB_HOME``, else the nearest folder above that has ``artifacts`` in it.

    A notebook's kernel may start in ``notebooks/`` or in the project's folder; both find the same one.
    """
    if home := os.environ.get("ECGNB_HOME"):
        return Path(home).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "artifacts").is_dir():
            return folder
    return here


def _start(run: Run) -> Run:
    """Make the run's folders, note it as the latest and send its log to a file."""
    file = run.path("config.json")
    written = _read_dict(file)
    if not written:
        write_json(file, run.config.parameters())
    elif RunConfig.from_resolved(written).key() != run.config.key():
        raise CheckpointError(f"{file} does not belong to run {run.name}. Move that folder away and start again.")
    latest = run.root / "artifacts" / "runs" / "latest.json"
    if _read_dict(latest).get("run") != run.name:
        write_json(latest, {"run": run.name})
    _log_to(run.log_file)
    return run


def _latest_run(root: Path) -> Run:
    latest = root / "artifacts" / "runs" / "latest.json"
    name = _read_dict(latest).get("run")
    if name is None:
        what = f"{latest} cannot be read" if latest.is_file() else f"No run was opened in {root} yet"
        raise StageError(
            f"{what}. Run the parameters cell and the cell after it, or call ecgnb.open_run(PROFILE='smoke')."
        )
    return _start(_read_run(latest.parent / str(name)))


def _read_run(folder: Path) -> Run:
    file = folder / "config.json"
    try:
        run = Run(folder.parents[2], RunConfig.from_resolved(read_json(file)))
    except (OSError, ValueError, TypeError) as error:
        raise StageError(f"{file} cannot be read ({error}). Open the run again with its parameters.") from error
    if run.name != folder.name:
        raise StageError(
            f"{file} is the configuration of a run {run.name}: the folder was renamed, or made with another version of "
            "ecgnb. Open the run again with its parameters."
        )
    return run


def _read_dict(file: Path) -> dict[str, Any]:
    """Read a small JSON file of ours; {} where it is missing or damaged, for whatever then writes it again."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _RunLog(logging.FileHandler):
    """A log whose folder went away or became read-only must not stop what it tells about."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)


def _log_to(file: Path) -> None:
    """Send the package's log to the run's file, and to that file alone."""
    logger = logging.getLogger("ecgnb")
    current = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if any(Path(handler.baseFilename) == file for handler in current):
        return
    for handler in current:
        logger.removeHandler(handler)
        handler.close()
    make_folder(file.parent)
    handler = _RunLog(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _read_csv(file: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(
        file, dtype=dict.fromkeys(text, "str"), keep_default_na=not text, na_values=[""] if text else None
    )


def _with_labels(records: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    labels = manifest[["dataset", "record_id", "label"]]
    joined = records.merge(labels, on=["dataset", "record_id"], how="left", validate="one_to_one")
    foreign = joined.loc[joined["label"].isna(), "record_id"]
    if len(foreign):
        raise StageError(
            f"{len(foreign)} prepared recordings, such as {foreign.iloc[0]}, are not in the cohort any more. "
            f"Run again: {STAGES['prepare']}"
        )
    return joined
