"""Stage 2: from recordings to a signal store."""

from __future__ import annotations

import pandas as pd

from ecgnb.core.errors import StageError
from ecgnb.core.progress import say
from ecgnb.data.store.losses import TOLERANCE_S, expected_losses, lines_of
from ecgnb.data.store.preparation import prepare_store, store_fingerprint
from ecgnb.data.store.store import SignalStore
from ecgnb.run.run import STAGES, Run
from ecgnb.run.session import use_run
from ecgnb.stages.cohort import require_current_cohort


def prepare(run: Run) -> pd.DataFrame:
    """Prepare the signals of the cohort, or open the store that has them already.

    The store is in ``artifacts/stores`` and serves every run with the same recordings
    and the same preparation; a preparation that was interrupted resumes.

    Returns:
        Counts of stored, doubtful and rejected recordings: ``what, recordings``.
    """
    use_run(run)
    require_current_cohort(run)
    config = run.config.prepare
    losses = lines_of(expected_losses(run.manifest, config))
    for line in losses:  # before the work begins
        say(line)
    # Of recordings and preparation, so that runs share a store.
    fingerprint = store_fingerprint(run.manifest, config)
    folder = run.root / "artifacts" / "stores" / f"{run.config.data.name}-{fingerprint}"
    store = prepare_store(run.manifest, config, folder)
    inputs = {"store": store.fingerprint, "content": store.content}
    with run.work("prepare", inputs) as is_needed:
        if is_needed:
            run.finish(
                "prepare",
                inputs,
                store=folder.relative_to(run.root).as_posix(),
                content=store.content,
                n_records=len(store),
                n_rejected=len(store.rejected),
                losses=losses,
            )
    return preparation_table(run)


def require_current_preparation(run: Run) -> None:
    """Refuse to go on when the cohort changed on disk, or was loaded again and the
    preparation was not; each later stage calls it first.

    Raises:
        StageError: with the stage to do again.
    """
    require_current_cohort(run)
    if run.states()["prepare"] != "stale":
        return  # done, or open, which the later stage finds out itself
    store = run.store
    is_same = store.fingerprint == store_fingerprint(run.manifest, run.config.prepare)
    inputs = {"store": store.fingerprint, "content": store.content}
    if not (is_same and run.is_done("prepare", inputs)):
        n_prepared = len(run.records)  # raises where one has left the cohort
        raise StageError(
            f"The cohort of run {run.name} changed after stage 'prepare', which has "
            f"{n_prepared} recordings. Run again, and what follows: "
            f"{STAGES['prepare'].call}"
        )


def preparation_table(run: Run) -> pd.DataFrame:
    """Count stored recordings, what was changed in their form, their flags and the
    reasons of rejection: ``what, recordings``.
    """
    store = run.store
    # "clipped_leads:V1;cropped:12 s" has two flags, each with its detail
    flags = store.records["flags"].str.split(";").explode().str.partition(":")[0]
    counts = [
        pd.Series({"stored": len(store), **_changed_forms(store)}),
        flags[flags != ""].value_counts().add_prefix("stored, flag "),
        store.rejected["reason"].value_counts().add_prefix("rejected, "),
        pd.Series({"rejected": len(store.rejected)}),
    ]
    return pd.concat(counts).rename_axis("what").reset_index(name="recordings")


def _changed_forms(store: SignalStore) -> dict[str, int]:
    """Count the stored recordings that lost seconds or samples, or got padding."""
    records = store.records
    seconds = records["original_samples"] / records["original_fs"]
    surplus = seconds - store.n_samples / store.fs  # seconds beyond the stored window
    counts = {
        "stored, cropped": surplus > TOLERANCE_S,
        "stored, padded": surplus < -TOLERANCE_S,
        "stored, upsampled": records["original_fs"] < store.fs,
        "stored, downsampled": records["original_fs"] > store.fs,
    }
    return {what: int(which.sum()) for what, which in counts.items() if which.any()}
