"""What must not be torn apart: records of one patient, and recordings that are there twice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecgnb.data.record_keys import without_rate


def record_groups(records: pd.DataFrame) -> np.ndarray:
    """Number the groups of records that belong together, directly or through others.

    Records belong together when they are of one patient of one data set, when their stored signals are identical, or
    when they are twins: one recording of a data set at two rates, with ids that differ in ``_lr`` and ``_hr`` alone.
    A record without a patient and without a double is a group of its own.

    Args:
        records: with the columns dataset, record_id, patient_id and signal_hash.

    Returns:
        int64 ``[n]``, numbered from 0 in the order of first appearance.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(records)
    # A graph with a node a record and a key; -1 is "unknown" and ties nothing.
    size, begins, ends = n, [], []
    for keys in _keys(records).values():
        key_of = pd.factorize(keys)[0]
        known = np.flatnonzero(key_of >= 0)
        begins.append(known)
        ends.append(size + key_of[known])
        size += int(key_of.max(initial=-1)) + 1
    edges = (np.concatenate(begins), np.concatenate(ends))
    graph = coo_matrix((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size))
    components = connected_components(graph, directed=False)[1][:n]
    return pd.factorize(components)[0].astype(np.int64)


def find_shared(records: pd.DataFrame, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """List patients, identical signals and twins (one recording at two rates) that stand in more than one part.

    Args:
        records: with the columns row, dataset, record_id, patient_id and signal_hash.
        parts: name of each part and the store rows in it.

    Returns:
        A row a case: kind ("patient", "signal" or "twin"), key, parts and records, each joined with "|".
    """
    part_of = pd.concat([pd.Series(name, index=np.asarray(rows)) for name, rows in parts.items() if len(rows)])
    table = records.assign(part=records["row"].map(part_of))
    table = table[table["part"].notna()]
    cases = []
    for kind, keys in _keys(table).items():
        keyed = table.assign(key=keys)[keys.notna()]
        n_parts = keyed.groupby("key")["part"].transform("nunique")
        for key, case in keyed[n_parts > 1].groupby("key", sort=True):
            found = sorted(set(case["part"]), key=list(parts).index)
            cases.append([kind, key, "|".join(found), "|".join(case["record_id"])])
    return pd.DataFrame(cases, columns=["kind", "key", "parts", "records"])


def unknown_patients(records: pd.DataFrame) -> np.ndarray:
    """Tell for each record (bool ``[n]``) whether its patient is unknown."""
    return (records["patient_id"].fillna("").astype(str) == "").to_numpy()


def _keys(records: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what ties records, by kind: one key a record, missing where unknown.

    Patients and twins are named with their data set, since two data sets may use the same numbers.
    """
    dataset = records["dataset"].astype(str) + ":"
    patient = dataset + records["patient_id"].astype(str)
    signal = records["signal_hash"]
    return {
        "patient": patient.mask(unknown_patients(records), None),
        "signal": signal.where(signal != "", None),
        "twin": dataset + records["record_id"].astype(str).map(without_rate),
    }
