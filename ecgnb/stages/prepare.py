"""Stage 2: from recordings to a signal store."""

from __future__ import annotations

import pandas as pd

from ecgnb.data.store.preparation import prepare_store, store_fingerprint
from ecgnb.run.run import Run


def prepare(run: Run) -> pd.DataFrame:
    """Prepare the signals of the cohort, or open the store that has them already.

    The store is in ``artifacts/stores`` and serves every run with the same recordings
    and the same preparation; a preparation that was interrupted resumes.

    Returns:
        Counts of stored, doubtful and rejected recordings: ``what, recordings``.
    """
    run.require("cohort")
    config = run.config.prepare
    fingerprint = store_fingerprint(run.manifest, config)
    folder = run.root / "artifacts" / "stores" / f"{run.config.data.name}-{fingerprint}"
    store = prepare_store(run.manifest, config, folder)
    inputs = {"store": store.fingerprint, "content": store.content}
    if not run.is_done("prepare", inputs):
        run.finish(
            "prepare",
            inputs,
            store=folder.relative_to(run.root).as_posix(),
            content=store.content,
            n_records=len(store),
            n_rejected=len(store.rejected),
        )
    return preparation_table(run)


def preparation_table(run: Run) -> pd.DataFrame:
    """Count stored recordings, their flags and the reasons of rejection:
    ``what, recordings``.
    """
    store = run.store
    flags = store.records["flags"].str.split(";").explode().str.split(":").str[0]
    counts = {"stored": len(store)}
    for name, count in flags[flags != ""].value_counts().items():
        counts[f"stored, flag {name}"] = int(count)
    for name, count in store.rejected["reason"].value_counts().items():
        counts[f"rejected, {name}"] = int(count)
    counts.setdefault("rejected", len(store.rejected))
    return pd.DataFrame({"what": list(counts), "recordings": list(counts.values())})
