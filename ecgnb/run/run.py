"""`Run`: a folder of results, the configuration that made them, and which stages are
done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ecgnb.core.errors import StageError
from ecgnb.core.files import fingerprint, read_json, remove_leftovers, write_json
from ecgnb.run.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

    from ecgnb.data.splits.splits import Splits
    from ecgnb.data.store.store import SignalStore


class Stage(NamedTuple):
    """A stage of the main job.

    Attributes:
        call: how a notebook does it.
        version: raised by hand whenever the stage gives other results from the same
            input, so that results of an older version of the package are not taken for
            those of this one.
    """

    call: str
    version: int


#: The stages in order.
STAGES = {
    "cohort": Stage("ecgnb.load_cohort(run)", 1),
    "prepare": Stage("ecgnb.prepare(run)", 1),
    "split": Stage("ecgnb.split(run)", 1),
    "train": Stage("ecgnb.train(run)", 1),
    "evaluate": Stage("ecgnb.evaluate(run)", 1),
    "report": Stage("ecgnb.write_report(run)", 1),
}


@dataclass(frozen=True)
class Run:
    """A run: a folder of results and the configuration that made them.

    Attributes:
        root: folder of the project, which holds ``artifacts``, ``figures`` and
            ``logs``.
        config: the resolved configuration.
    """

    root: Path
    config: RunConfig
    _memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """``<data set>-<profile>-<model>-<hash of the configuration>``."""
        config = self.config
        return (
            f"{config.data.name}-{config.profile}-{config.model.label}-{config.key()}"
        )

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
        """Return what `finish` wrote about a stage, or None when it is not done (or
        nobody can tell any more).
        """
        record = read_dict(self.path("stages", f"{stage}.json"))
        return record if record.keys() >= {"inputs", "files", "results"} else None

    def is_done(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Tell whether ``stage`` was finished from exactly these inputs, and its files
        are still there and whole.
        """
        record = self.record(stage)
        return (
            record is not None
            and record["inputs"] == _stage_key(stage, inputs)
            and not self._damage(record)
        )

    def finish(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        files: Sequence[str] = (),
        **results: Any,
    ) -> None:
        """Note that ``stage`` is done; call it last, when all its files are whole.

        Args:
            stage: one of `STAGES`.
            inputs: everything that the results depend on.
            files: what the stage wrote, within the run's folder; with one of them gone
                or cut it is not done any more.
            **results: what later stages ask of this one.
        """
        self._memory.clear()
        for folder in (self.folder, self.figures):
            remove_leftovers(folder)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        sizes = {name: self.path(name).stat().st_size for name in files}
        write_json(
            self.path("stages", f"{stage}.json"),
            {
                "inputs": _stage_key(stage, inputs),
                "finished": now,
                "files": sizes,
                "results": results,
            },
        )

    def _damage(self, record: Mapping[str, Any]) -> str:
        """Say which of a stage's files is not what the stage left; "" when all are."""
        for name, size in record["files"].items():
            file = self.path(name)
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                return (
                    f"{file} is missing"
                    if found is None
                    else f"{file} has {found} bytes in place of {size}"
                )
        return ""

    def require(self, stage: str) -> dict[str, Any]:
        """Return the results of a stage, or say which call makes them.

        Raises:
            StageError: the stage is not done yet, or a file that it left is gone or
                cut.
        """
        record = self.record(stage)
        if record is None:
            raise StageError(
                f"Stage {stage!r} of run {self.name} is not done yet. First run: {STAGES[stage].call}"
            )
        if damage := self._damage(record):
            raise StageError(
                f"{damage}: it was changed after stage {stage!r} of {self.name}. Run again: {STAGES[stage].call}"
            )
        return record["results"]

    def require_current(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of a stage that was done from exactly these inputs.

        Raises:
            StageError: the stage is not done yet, or what it was made from has changed
                since.
        """
        results = self.require(stage)
        if not self.is_done(stage, inputs):
            raise StageError(
                f"Recordings, labels or parameters changed after stage {stage!r} of run {self.name}. "
                f"Run again: {STAGES[stage].call}"
            )
        return results

    # What the stages left, read back.

    def _remembered(self, key: str, read: Any) -> Any:
        """Read a file once a process; `finish` forgets everything, so a stage done
        again is seen.
        """
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
            again = STAGES[stage].call
            raise StageError(
                f"{file} cannot be read ({error}). Delete it and run again: {again}"
            ) from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(self.require("cohort")["classes"])

    @property
    def task(self) -> str:
        """What a label is: one class ("multiclass") or any number of them
        ("multilabel").
        """
        return str(self.require("cohort")["task"])

    @property
    def manifest(self) -> pd.DataFrame:
        """The cohort: a row a recording, with its label."""
        from ecgnb.data.manifest import read_manifest

        return self._remembered(
            "manifest", lambda: self._read("cohort", "manifest.csv", read_manifest)
        )

    @property
    def store(self) -> SignalStore:
        """The prepared signals."""
        from ecgnb.data.store.store import SignalStore

        relative = self.require("prepare")["store"]
        return self._remembered("store", lambda: SignalStore.open(self.root / relative))

    @property
    def records(self) -> pd.DataFrame:
        """The store's records with the cohort's labels, a row a stored signal in the
        store's order.
        """
        return self._remembered(
            "records", lambda: _with_labels(self.store.records, self.manifest)
        )

    @property
    def coverage(self) -> pd.DataFrame:
        """What became of each recording that was found, and of each row of the label
        file: ``what, count, note``.
        """
        return self._read("cohort", "coverage.csv", _read_csv)

    @property
    def splits(self) -> Splits:
        """Rows of the store for training, validation and test."""
        from ecgnb.data.splits.splits import read_splits

        self.require("split")
        store = self.require("prepare")["content"]
        return self._remembered(
            "splits", lambda: read_splits(self.path("splits.json"), fingerprint=store)
        )

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
        return self._read(
            "evaluate", "predictions.csv", lambda file: _read_csv(file, text)
        )

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


def read_dict(file: Path) -> dict[str, Any]:
    """Read a small JSON file of ours; {} where it is missing or damaged, for whatever
    then writes it again.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stage_key(stage: str, inputs: Mapping[str, Any]) -> str:
    return fingerprint({"version": STAGES[stage].version, **inputs})


def _read_csv(file: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(
        file,
        dtype=dict.fromkeys(text, "str"),
        keep_default_na=not text,
        encoding="utf-8",
    )


def _with_labels(records: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    # The paths are the manifest's, too: the store may be older than the place where the
    # recordings lie now.
    labels = manifest[["dataset", "record_id", "path", "label"]]
    joined = records.drop(columns="path").merge(
        labels, on=["dataset", "record_id"], how="left", validate="one_to_one"
    )
    foreign = joined.loc[joined["label"].isna(), "record_id"]
    if len(foreign):
        raise StageError(
            f"{len(foreign)} prepared recordings, such as {foreign.iloc[0]}, are not in the cohort any more. "
            f"Run again: {STAGES['prepare'].call}"
        )
    return joined
