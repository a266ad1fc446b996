"""What must not be torn apart: records of one patient, and recordings that are there twice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def record_groups(records: pd.DataFrame) -> np.ndarray:
    """Number the groups of records that belong together, directly or through others.

    Records belong together when they are of one patient of one data set, or when their stored signals are identical.
    A record without a patient and without a double is a group of its own.

    Args:
        records: with the columns dataset, patient_id and signal_hash.

    Returns:
        int64 ``[n]``, numbered from 0 in the order of first appearance.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(records)
    patients = pd.factorize(_patient_keys(records))[0]
    signals = pd.factorize(records["signal_hash"].where(records["signal_hash"] != "", None))[0]
    n_patients = int(patients.max(initial=-1)) + 1
    size = n + n_patients + int(signals.max(initial=-1)) + 1
    # A graph with a node a record, a patient and a signal; -1 is "unknown" and ties nothing.
    record = np.arange(n)
    known_patient, known_signal = patients >= 0, signals >= 0
    ends = np.concatenate([n + patients[known_patient], n + n_patients + signals[known_signal]])
    begins = np.concatenate([record[known_patient], record[known_signal]])
    graph = coo_matrix((np.ones(len(begins), dtype=np.int8), (begins, ends)), shape=(size, size))
    components = connected_components(graph, directed=False)[1][:n]
    return pd.factorize(components)[0].astype(np.int64)


def find_shared(records: pd.DataFrame, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """List patients and identical signals that stand in more than one part.

    Args:
        records: with the columns row, dataset, record_id, patient_id and signal_hash.
        parts: name of each part and the store rows in it.

    Returns:
        A row a case: kind ("patient" or "signal"), key, parts and records, each joined with "|".
    """
    part_of = pd.concat([pd.Series(name, index=np.asarray(rows)) for name, rows in parts.items() if len(rows)])
    table = records.assign(part=records["row"].map(part_of))
    table = table[table["part"].notna()]
    cases = []
    for kind, keys in (("patient", _patient_keys(table)), ("signal", table["signal_hash"])):
        keyed = table.assign(key=keys)
        keyed = keyed[keyed["key"].notna() & (keyed["key"] != "")]
        n_parts = keyed.groupby("key")["part"].transform("nunique")
        for key, case in keyed[n_parts > 1].groupby("key", sort=True):
            found = sorted(set(case["part"]), key=list(parts).index)
            cases.append([kind, key, "|".join(found), "|".join(case["record_id"])])
    return pd.DataFrame(cases, columns=["kind", "key", "parts", "records"])


def _patient_keys(records: pd.DataFrame) -> pd.Series:
    """Name patients by data set and number, since two data sets may use the same numbers; missing where unknown."""
    keys = records["dataset"].astype(str) + ":" + records["patient_id"].astype(str)
    return keys.where(records["patient_id"].fillna("").astype(str) != "", None)
