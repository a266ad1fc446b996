"""Leads, rate and length of recordings before they are prepared: from the manifest, or
from some of the files where it does not have them.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from ecgnb.core.errors import EcgnbError
from ecgnb.core.transient import refuse_to_conclude
from ecgnb.data.loading.sampler import epoch_order
from ecgnb.data.manifest import as_manifest
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.signal.leads import LIMB_LEADS, normalise_lead

#: Files that are read at most where the manifest does not have the facts. A share of
#: 80 % is then known within 8 percentage points (two standard errors).
PROBES = 100
#: Bytes of files after which no more are read: a folder of Holter recordings is not
#: read twice.
PROBE_BYTES = 256 << 20


class Facts(NamedTuple):
    """What decides the form of a recording; NaN is unknown.

    Attributes:
        leads: normalised names.
        fs: rate in Hz.
        n_samples: length in samples.
    """

    leads: tuple[str, ...]
    fs: float = math.nan
    n_samples: float = math.nan

    @property
    def seconds(self) -> float:
        """Length in seconds, NaN where it or the rate is unknown."""
        return self.n_samples / self.fs if self.fs > 0 else math.nan


class CohortFacts(NamedTuple):
    """Facts of a cohort.

    Attributes:
        counts: number of recordings with each facts; not whole where only a part of the
            files was read.
        n_read: files that were read for it.
        n_unreadable: of these, files that cannot be read.
        problem: why the first of them cannot.
        is_estimate: whether some files were not read.
    """

    counts: dict[Facts, float]
    n_read: int = 0
    n_unreadable: int = 0
    problem: str = ""
    is_estimate: bool = False


def facts_of(
    manifest: pd.DataFrame, needed: Sequence[str] = ("leads", "fs", "n_samples")
) -> CohortFacts:
    """Return the facts of a manifest's recordings.

    Where the manifest lacks one of the ``needed`` columns, up to `PROBES` files, drawn
    at random with a fixed seed, are read and stand for the others.
    """
    table = as_manifest(manifest)
    is_known = np.ones(len(table), dtype=bool)
    for name in needed:
        is_known &= (table[name].notna() & (table[name] != "")).to_numpy(dtype=bool)
    counts: defaultdict[Facts, float] = defaultdict(float)
    columns = table[["leads", "fs", "n_samples"]][is_known]
    repeated = columns.astype({"n_samples": "float64"}).value_counts(dropna=False)
    for values, count in repeated.items():
        leads, fs, n_samples = cast("tuple[str, float, float]", values)
        counts[Facts(normalised(leads.split("|")), fs, n_samples)] += count
    unknown = table[~is_known]
    probes = _probes(unknown)
    problems = []
    for row in probes.itertuples(index=False):
        facts, problem = _facts_in_file(row)
        if problem:
            problems.append(problem)
        else:
            counts[facts] += len(unknown) / len(probes)
    return CohortFacts(
        dict(counts),
        n_read=len(probes),
        n_unreadable=len(problems),
        problem=next(iter(problems), ""),
        is_estimate=len(probes) < len(unknown),
    )


def normalised(leads: Iterable[str]) -> tuple[str, ...]:
    """Return lead names in their standard spelling."""
    return tuple(map(normalise_lead, leads))


def has_lead(leads: Sequence[str], lead: str) -> bool:
    """Return whether a lead is among others, or can be derived from two limb leads.

    >>> has_lead(("I", "II", "V1"), "aVF"), has_lead(("I", "V1"), "II")
    (True, False)
    """
    n_limb_leads = sum([name in LIMB_LEADS for name in leads])
    return lead in leads or (lead in LIMB_LEADS and n_limb_leads >= 2)


def _probes(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw the rows whose files are read."""
    drawn = []
    n_bytes = 0
    for number in epoch_order(len(rows), seed=0, epoch=-1)[:PROBES].tolist():
        drawn.append(number)
        file = Path(rows["path"].iloc[number])
        n_bytes += file.stat().st_size if file.is_file() else 0
        if n_bytes > PROBE_BYTES:
            break
    return rows.iloc[sorted(drawn)]


def _facts_in_file(row: Any) -> tuple[Facts, str]:
    """Read a row's file; return its facts, and why it cannot be read."""
    fs = None if math.isnan(row.fs) else row.fs
    n_samples = None if row.n_samples is pd.NA else row.n_samples
    state = (0, 0)
    if Path(row.path).is_file():
        status = Path(row.path).stat()
        state = (status.st_size, status.st_mtime_ns)
    return _read_facts(row.path, state, fs, row.start, n_samples)


@functools.lru_cache(maxsize=4 * PROBES)
def _read_facts(
    path: str,
    state: tuple[int, int],  # size and time of the file, so that a changed one is read
    fs: float | None,
    start: int,
    n_samples: int | None,
) -> tuple[Facts, str]:
    try:
        recording = read_recording(path, fs=fs, start=start, n_samples=n_samples)
    except (EcgnbError, OSError, ValueError) as error:
        refuse_to_conclude(error, path)  # the facts must not depend on the moment
        return Facts(()), str(error)
    leads = normalised(recording.leads)
    return Facts(leads, recording.fs, recording.n_samples), ""
