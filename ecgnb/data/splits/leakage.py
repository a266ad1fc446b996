"""Leakage between splits: patients, identical signals, copies, twins at two rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecgnb.core.errors import first_few
from ecgnb.data.cell_text import patient_ids, patient_keys
from ecgnb.data.labels.record_keys import without_rate


def find_leakage(
    records: pd.DataFrame, parts: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """List patients, identical signals, copies and twins that are in more than one
    part.

    Twins are one recording at two rates, by their names; copies are recordings that
    have 3 s in common (`ecgnb.data.splits.copies`).

    Args:
        records: with the columns row, dataset, record_id, patient_id, signal_hash and
            copy_group; without the last, copies are not known.
        parts: name of each part and its store rows.

    Returns:
        One row per case: kind ("patient", "signal", "twin" or "copy"), key, parts and
        records, both joined with "|". Recordings that are listed as identical signals
        or twins are not listed as copies again.
    """
    part_of: dict[int, str] = {}
    for name, rows in parts.items():
        part_of.update(dict.fromkeys(rows, name))
    part = records["row"].map(part_of)
    table = records.assign(part=part)[part.notna()]
    order = list(parts)
    cases: list[list[str]] = []
    for kind, keys in _keys(table).items():
        keyed = table.assign(key=keys)[keys.notna()]
        n_parts = keyed.groupby("key")["part"].transform("nunique")
        for key, case in keyed[n_parts > 1].groupby("key", sort=True):
            in_parts = sorted(set(case["part"]), key=order.index)
            record_ids = "|".join(case["record_id"])
            is_listed = any(record_ids == listed[3] for listed in cases)
            if kind != "copy" or not is_listed:
                cases.append([kind, str(key), "|".join(in_parts), record_ids])
    return pd.DataFrame(cases, columns=["kind", "key", "parts", "records"])


def describe_leaks(leaks: pd.DataFrame) -> str:
    """Describe the first leaks of `find_leakage` in one line."""
    cases = leaks["kind"] + " " + leaks["key"] + " in " + leaks["parts"]
    return (
        f"{len(leaks)} patients, signals, twins or copies are in two parts: "
        f"{first_few(cases.tolist(), 3)}"
    )


def record_groups(records: pd.DataFrame) -> np.ndarray:
    """Number the groups of records that must stay in one part.

    Records belong to one group when they are of one patient of one data set, when their
    stored signals are identical or copies (`ecgnb.data.splits.copies`), or when they
    are twins: one recording of a data set at two rates, with ids that differ in ``_lr``
    and ``_hr`` only; directly or through other records. All other records are groups of
    their own.

    Args:
        records: with the columns dataset, record_id, patient_id, signal_hash and
            copy_group; without the last, copies are not known.

    Returns:
        int64 ``[n]``, numbered from 0 in the order of first appearance.
    """
    # Imported here: most users of this module need no graph.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # A graph with one node per record and per key, and an edge where a record has a
    # key. Its connected components are the groups.
    n = n_nodes = len(records)
    edges = []
    for keys in _keys(records).values():
        numbers, distinct = pd.factorize(keys)  # -1 where the key is unknown
        with_key = np.flatnonzero(numbers >= 0)
        edges.append([with_key, n_nodes + numbers[with_key]])
        n_nodes += len(distinct)
    pairs = np.concatenate(edges, axis=1)  # [2, n_edges]
    weights = np.ones(pairs.shape[1], dtype=np.int8)
    graph = coo_matrix((weights, pairs), shape=(n_nodes, n_nodes))
    _, components = connected_components(graph, directed=False)
    numbers, _ = pd.factorize(components[:n])
    return numbers.astype(np.int64)


def unknown_patients(records: pd.DataFrame) -> np.ndarray:
    """Return bool ``[n]``: the patient of the record is unknown."""
    return (patient_ids(records["patient_id"]) == "").to_numpy()


def _keys(records: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the keys that records of one group share, missing where unknown.

    Keys of patients and twins contain the data set, since two data sets may use the
    same numbers.
    """
    dataset = records["dataset"].astype(str) + ":"
    patient = dataset + patient_keys(records["patient_id"])
    signal = records["signal_hash"]
    keys = {
        "patient": patient.mask(unknown_patients(records), None),
        "signal": signal.where(signal != "", None),
        "twin": dataset + records["record_id"].astype(str).map(without_rate),
    }
    if "copy_group" in records:
        copies = records["copy_group"]
        keys["copy"] = copies.where(copies != "", None)
    return keys
