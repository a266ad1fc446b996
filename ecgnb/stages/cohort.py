"""Stage 1: find the recordings and assign their labels."""

from __future__ import annotations

import dataclasses

import pandas as pd

from ecgnb.core.files import fingerprint, write_csv
from ecgnb.data.labels import assign as cohorts
from ecgnb.data.manifest import manifest_fingerprint, write_manifest
from ecgnb.data.store.rows import limit_records
from ecgnb.run.run import Run
from ecgnb.run.session import use_run

#: Seed of the sample for PREPROCESS_LIMIT: fixed, so that runs with different training
#: seeds use the same recordings.
LIMIT_SEED = 0


def load_cohort(run: Run) -> pd.DataFrame:
    """Find the recordings, assign their labels and write both to the run.

    The folder is scanned again each time, so recordings that were added since are
    found.

    Returns:
        The coverage report: counts of recordings, and how their labels were assigned.
    """
    use_run(run)
    config = run.config.data
    folder = cohorts.cohort_folder(config, run.root)
    cohort = cohorts.load_cohort(config, run.root, folder, run.config.prepare.target_fs)
    manifest, coverage = cohort.manifest, cohort.coverage
    if config.preprocess_limit:
        manifest = limit_records(manifest, config.preprocess_limit, LIMIT_SEED)
    table = coverage.table()
    inputs = {
        "config": dataclasses.asdict(config),
        "manifest": manifest_fingerprint(manifest),
        "coverage": fingerprint(table.astype(str).to_numpy()),
    }
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
                n_found=coverage.n_records,
                n_labelled=coverage.n_labelled,
                n_other=coverage.n_other,
                n_dropped=coverage.n_dropped,
                n_recordings=len(manifest),
            )
    return table
