"""Run: a folder of results, its configuration, and the state of its stages."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ecgnb.core.errors import StageError
from ecgnb.core.files import (
    damage_of,
    describe_file,
    fingerprint,
    read_json,
    read_sealed,
    remove_file,
    remove_leftovers,
    write_sealed,
)
from ecgnb.core.interrupts import interrupts_deferred
from ecgnb.core.locks import exclusive
from ecgnb.core.transient import refuse_transient
from ecgnb.run.config import RunConfig
from ecgnb.run.run_tables import read_table_of_run, run_html, with_labels

if TYPE_CHECKING:
    import pandas as pd

    from ecgnb.data.splits.splits import Splits
    from ecgnb.data.store.store import SignalStore


class Stage(NamedTuple):
    """A stage of the main job.

    Attributes:
        call: the call that does the stage.
        version: raised by hand whenever the stage gives other results from the same
            input, so that results of an older version of the package are not reused.
    """

    call: str
    version: int


#: The stages in order; each needs the one before it.
STAGES = {
    "cohort": Stage("ecgnb.load_cohort(run)", 1),
    "prepare": Stage("ecgnb.prepare(run)", 1),
    "split": Stage("ecgnb.split(run)", 3),
    "train": Stage("ecgnb.train(run)", 2),
    "evaluate": Stage("ecgnb.evaluate(run)", 2),
    "report": Stage("ecgnb.write_report(run)", 2),
}
#: The stage before each stage but the first.
_BEFORE = dict(pairwise(reversed(STAGES)))
_RECORD_KEYS = {"inputs", "previous", "files", "results", "finished"}


@dataclass(frozen=True)
class Run:
    """A run: a folder of results and the configuration behind them.

    Attributes:
        root: folder of the project, with ``artifacts``, ``figures`` and ``logs``.
        config: the resolved configuration.
    """

    root: Path
    config: RunConfig
    # Of tables and stores that several cells read; `finish` clears it.
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    # Cached: the hash takes a millisecond, and every path contains the name.
    @functools.cached_property
    def name(self) -> str:
        """``<data set>-<profile>-<model>-<hash of the configuration>``."""
        config = self.config
        return (
            f"{config.data.name}-{config.profile}-{config.model.label}-{config.key()}"
        )

    @property
    def title(self) -> str:
        """The run and its model in a few words."""
        return f"run {self.name}, model {self.config.model.label}"

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.root / "artifacts" / "runs" / self.name

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.root / "figures" / self.name

    @property
    def log_file(self) -> Path:
        """Log of the run."""
        return self.root / "logs" / f"{self.name}.log"

    def path(self, *parts: str) -> Path:
        """Return a path inside the run's folder."""
        return self.folder.joinpath(*parts)

    # State of the stages

    def record(self, stage: str) -> dict[str, Any] | None:
        """Return what `finish` wrote about a stage, None when there is no valid
        record.
        """
        try:
            record = read_sealed(self._record_file(stage))
        except (OSError, ValueError) as error:  # missing or damaged
            refuse_transient(error, self._record_file(stage))
            return None
        return record if record.keys() >= _RECORD_KEYS else None

    def is_done(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Return whether ``stage`` was finished from exactly these inputs, and its
        files are still there with the bytes that it wrote.
        """
        record = self.record(stage)
        if (
            record is None
            or record["inputs"] != _stage_key(stage, inputs)
            or self._damage(record)
        ):
            return False
        previous = self._previous_inputs(stage)
        if record["previous"] != previous:
            # The previous stage was done again and gave the same inputs to this one.
            write_sealed(self._record_file(stage), {**record, "previous": previous})
        return True

    @contextlib.contextmanager
    def work(
        self, stage: str, inputs: Mapping[str, Any], again: bool = False
    ) -> Iterator[bool]:
        """Yield whether a stage is to be done from these inputs, with the run locked
        for other processes until the block ends.

        A process that is killed in the block leaves an open stage: the record of
        earlier results is removed first, and `finish` writes the new one last.

        Args:
            stage: one of `STAGES`.
            inputs: as for `finish`.
            again: do it also when it is done.
        """
        if not again and self.is_done(stage, inputs):
            yield False
            return
        with exclusive(self.path("run.lock"), f"Run {self.name}"):
            if not again and self.is_done(stage, inputs):
                self._cache.clear()  # another process did it meanwhile
                yield False
                return
            remove_file(self._record_file(stage))
            yield True

    def finish(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        files: Sequence[str] = (),
        **results: Any,
    ) -> None:
        """Record that ``stage`` is done; call it last, when all its files are complete.

        Args:
            stage: one of `STAGES`.
            inputs: everything that the results depend on.
            files: what the stage wrote, relative to the run's folder; if one of them
                is missing or changes, the stage is not done any more.
            **results: what later stages need from this one.
        """
        self._cache.clear()  # the files of this stage changed
        for folder in (self.folder, self.figures):
            remove_leftovers(folder)
        record = {
            "inputs": _stage_key(stage, inputs),
            "previous": self._previous_inputs(stage),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "files": {name: describe_file(self.path(name)) for name in files},
            "results": results,
        }
        write_sealed(self._record_file(stage), record)

    def require(self, stage: str) -> dict[str, Any]:
        """Return the results of ``stage`` for a later stage that needs them.

        Raises:
            StageError: the stage is not done yet, or one of its files is missing or
                damaged.
        """
        record = self.record(stage)
        call = STAGES[stage].call
        if record is None:
            raise StageError(
                f"Stage {stage!r} of run {self.name} is not done yet. First run: {call}"
            )
        if damage := self._damage(record):
            raise StageError(
                f"{damage}: it was changed after stage {stage!r} of {self.name}. "
                f"Run again: {call}"
            )
        return record["results"]

    def require_current(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of a stage that was done from exactly these inputs.

        Raises:
            StageError: the stage is not done yet, or its inputs have changed since.
        """
        results = self.require(stage)
        if not self.is_done(stage, inputs):
            raise StageError(
                f"Recordings, labels or parameters changed after stage {stage!r} of "
                f"run {self.name}. Run again: {STAGES[stage].call}"
            )
        return results

    def require_fresh(self, stage: str) -> dict[str, Any]:
        """Return the results of a stage to show them: old numbers are refused.

        Raises:
            StageError: the stage is not done yet, or a stage before it was done again
                since; the message names the first one to do.
        """
        results = self.require(stage)
        states = self.states()
        if states[stage] == "stale":
            first = next(name for name, state in states.items() if state != "done")
            raise StageError(
                f"The results of stage {stage!r} of run {self.name} are old: its "
                "recordings or labels changed since. Run again, and what follows: "
                f"{STAGES[first].call}"
            )
        return results

    def note(self, stage: str, **results: Any) -> None:
        """Add to the results of a finished stage what does not change them."""
        record = self.record(stage)
        if record is not None:
            record["results"] |= results
            write_sealed(self._record_file(stage), record)

    def states(self) -> dict[str, str]:
        """Return the state of every stage: "done", "stale" (its files or a stage
        before it changed) or "open" (not done yet).

        Only records and checksums of files are compared. New recordings in the data
        folder are seen when the stage "cohort" is done again.
        """
        states: dict[str, str] = {}
        previous_state = "done"
        for stage in STAGES:
            record = self.record(stage)
            if record is None:
                state = "open"
            elif (
                previous_state != "done"
                or self._damage(record)
                or record["previous"] != self._previous_inputs(stage)
            ):
                state = "stale"
            else:
                state = "done"
            states[stage] = previous_state = state
        return states

    def _record_file(self, stage: str) -> Path:
        return self.path("stages", f"{stage}.json")

    def _previous_inputs(self, stage: str) -> str:
        """Return the hash of the inputs of the stage before this one."""
        record = self.record(_BEFORE[stage]) if stage in _BEFORE else None
        return record["inputs"] if record else ""

    def _damage(self, record: Mapping[str, Any]) -> str:
        """Return which file of a stage is missing or damaged.

        A file is read once per process (0.7 s per GB), and again when it changes.
        """
        for name, written in record["files"].items():
            if damage := damage_of(self.path(name), written):
                return damage
        return ""

    # Files of the stages, read back

    def _cached(self, key: str, read: Callable[[], Any]) -> Any:
        """Read a file once; `finish` clears the cache, so that new results are seen."""
        if key not in self._cache:
            self._cache[key] = read()
        return self._cache[key]

    def _read(self, stage: str, name: str, read: Callable[[Path], Any]) -> Any:
        """Read a file of a stage."""
        # Results of training and evaluation are shown, the rest is input of a stage.
        if stage in ("train", "evaluate"):
            self.require_fresh(stage)
        else:
            self.require(stage)
        file = self.path(name)
        try:
            return read(file)
        except (OSError, ValueError, KeyError) as error:
            refuse_transient(error, file)
            raise StageError(
                f"{file} cannot be read ({error}). Delete it and run again: "
                f"{STAGES[stage].call}"
            ) from error

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(self.require("cohort")["classes"])

    @property
    def task(self) -> str:
        """One class per recording ("multiclass") or any number ("multilabel")."""
        return str(self.require("cohort")["task"])

    @property
    def manifest(self) -> pd.DataFrame:
        """The cohort: one row per recording, with its label."""
        from ecgnb.data.manifest import read_manifest

        return self._cached(
            "manifest", lambda: self._read("cohort", "manifest.csv", read_manifest)
        )

    @property
    def store(self) -> SignalStore:
        """The prepared signals."""
        from ecgnb.data.store.store import SignalStore

        folder = self.root / self.require("prepare")["store"]
        return self._cached("store", lambda: SignalStore.open(folder))

    @property
    def records(self) -> pd.DataFrame:
        """One row per stored signal, in the store's order, with the cohort's labels."""
        return self._cached(
            "records", lambda: with_labels(self.store.records, self.manifest)
        )

    @property
    def coverage(self) -> pd.DataFrame:
        """Recordings and rows of the label file in use: ``what, count, note``."""
        return self._read("cohort", "coverage.csv", read_table_of_run)

    @property
    def splits(self) -> Splits:
        """Rows of the store for training, validation and test."""
        from ecgnb.data.splits.splits import read_splits

        self.require("split")
        content = self.require("prepare")["content"]
        return self._cached(
            "splits", lambda: read_splits(self.path("splits.json"), fingerprint=content)
        )

    @property
    def history(self) -> pd.DataFrame:
        """Training history, one row per epoch."""
        return self._read("train", "history.csv", read_table_of_run)

    @property
    def metrics(self) -> dict[str, Any]:
        """All metrics of the test split."""
        return self._read("evaluate", "metrics.json", read_json)

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per test recording: label, prediction and probabilities."""
        text = ("dataset", "record_id", "patient_id", "path", "label", "prediction")
        return self._read(
            "evaluate", "predictions.csv", lambda file: read_table_of_run(file, text)
        )

    def result_paths(self) -> dict[str, Path]:
        """Return the files and folders of results that exist, by title."""
        paths = {
            "metrics": self.path("metrics.json"),
            "predictions": self.path("predictions.csv"),
            "figures": self.figures,
            "report": self.path("report.html"),
            "model bundle": self.path("bundle"),
            "log": self.log_file,
        }
        return {title: path for title, path in paths.items() if path.exists()}

    # Tables for people

    def stages_table(self) -> pd.DataFrame:
        """Return one row per stage: ``stage, state, finished (UTC), call``.

        The call is empty for stages that are done; see `states`.
        """
        with interrupts_deferred():
            import pandas as pd

        rows = []
        for stage, state in self.states().items():
            record = self.record(stage)
            finished = record["finished"][:19].replace("T", " ") if record else ""
            call = "" if state == "done" else STAGES[stage].call
            rows.append((stage, state, finished, call))
        return pd.DataFrame(rows, columns=["stage", "state", "finished (UTC)", "call"])

    def __repr__(self) -> str:
        done = [stage for stage in STAGES if self.record(stage)]
        return f"Run({self.name!r}, done: {', '.join(done) or 'nothing yet'})"

    def _repr_html_(self) -> str:
        """Show name, stages and parameters in a notebook."""
        return run_html(self)


def _stage_key(stage: str, inputs: Mapping[str, Any]) -> str:
    return fingerprint({"version": STAGES[stage].version, **inputs})
