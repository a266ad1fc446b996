"""Stage 1: find the recordings and assign their labels."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ecgnb.core.errors import LabelError, ReadError, StageError
from ecgnb.core.files import fingerprint, write_csv
from ecgnb.core.progress import say
from ecgnb.data.catalog.dataset_files import file_states
from ecgnb.data.labels import assign as cohorts
from ecgnb.data.manifest import manifest_fingerprint, write_manifest
from ecgnb.data.store.rows import limit_records
from ecgnb.run.run import STAGES, Run
from ecgnb.run.session import use_run

#: Seed of the sample for PREPROCESS_LIMIT: fixed, so that runs with different training
#: seeds use the same recordings.
LIMIT_SEED = 0
#: Suffixes of files that may label recordings in a folder below them.
TABLES = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".xls")


class CurrentCohort(NamedTuple):
    """The cohort as files and parameters make it now.

    Attributes:
        cohort: recordings, labels, classes and coverage.
        manifest: one row per recording that is used, after PREPROCESS_LIMIT.
        table: the coverage report.
        inputs: of the stage, for `Run.is_done`.
    """

    cohort: cohorts.Cohort
    manifest: pd.DataFrame
    table: pd.DataFrame
    inputs: dict[str, Any]


def load_cohort(run: Run) -> pd.DataFrame:
    """Find the recordings, assign their labels and write both to the run.

    The folder is scanned again each time, so recordings that were added since are
    found.

    Returns:
        The coverage report: counts of recordings, and how their labels were assigned.
    """
    use_run(run)
    folder = cohorts.cohort_folder(run.config.data, run.root)
    sources = sources_state(run, folder)  # first: a change meanwhile is noticed later
    cohort, manifest, table, inputs = _current_cohort(run, folder)
    coverage = cohort.coverage
    with run.work("cohort", inputs) as is_needed:
        if is_needed:
            write_manifest(run.path("manifest.csv"), manifest)
            write_csv(run.path("coverage.csv"), table)
            run.finish(
                "cohort",
                inputs,
                files=("manifest.csv", "coverage.csv"),
                classes=cohort.classes,
                task=cohort.task,
                folder=folder.as_posix(),
                sources=sources,
                n_found=coverage.n_records,
                n_labelled=coverage.n_labelled,
                n_other=coverage.n_other,
                n_dropped=coverage.n_dropped,
                n_recordings=len(manifest),
            )
    if run.require("cohort").get("sources") != sources:
        run.note("cohort", sources=sources)
    return table


def _current_cohort(run: Run, folder: Path) -> CurrentCohort:
    config = run.config.data
    cohort = cohorts.load_cohort(config, run.root, folder, run.config.prepare.target_fs)
    manifest = cohort.manifest
    if config.preprocess_limit:
        manifest = limit_records(manifest, config.preprocess_limit, LIMIT_SEED)
    table = cohort.coverage.table()
    inputs = {
        "config": dataclasses.asdict(config),
        "manifest": manifest_fingerprint(manifest),
        "coverage": fingerprint(table.astype(str).to_numpy()),
    }
    return CurrentCohort(cohort, manifest, table, inputs)


def sources_state(run: Run, folder: Path) -> str:
    """Return a hash of names, sizes and times of all files that a cohort may be made
    of: those of the data set's folder, tables beside it, and the label file.

    It takes about 0.2 s for 10,000 files on a local disk, and reads none of them.
    """
    states = file_states(folder)
    others = []
    with contextlib.suppress(OSError):  # the folder above may be locked
        for path in sorted(folder.parent.iterdir()):
            if path.suffix.lower() in TABLES:  # some data sets have them there
                others.append(path)
    if run.config.data.mapping_csv:
        others.append(cohorts.resolve(run.config.data.mapping_csv, run.root))
    for file in others:
        with contextlib.suppress(OSError):  # deleted meanwhile
            state = file.stat()
            states.append((file.name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def require_current_cohort(run: Run) -> None:
    """Refuse to go on when recordings or labels changed on disk after the cohort was
    loaded; each later stage calls it first.

    Files that changed without changing the cohort do not matter. It is found again only
    if any file changed (`sources_state`).

    Raises:
        StageError: the cohort is another one now.
    """
    results = run.require("cohort")
    folder = Path(results["folder"])
    if not folder.is_dir():
        say(
            f"The recordings' folder {folder} is not there: whether recordings or "
            "labels changed is not known."
        )
        return
    sources = sources_state(run, folder)
    if sources == results.get("sources"):
        return
    try:
        is_same = run.is_done("cohort", _current_cohort(run, folder).inputs)
        problem = "Recordings or labels changed"
    except (LabelError, ReadError) as error:
        is_same, problem = False, str(error).rstrip(".")
    if not is_same:
        raise StageError(
            f"{problem}, after stage 'cohort' of run {run.name}: what was made from it "
            f"is stale. Run again, and what follows: {STAGES['cohort'].call}"
        )
    run.note("cohort", sources=sources)
