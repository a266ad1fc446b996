"""Records of a store for the tests of splits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecgnb.data.splits.leakage import find_leakage
from ecgnb.data.splits.splits import Splits


def table(patients, hashes=None, folds=None, first_row: int = 0) -> pd.DataFrame:
    """Records of a store with these patients ("" unknown), signal hashes and official
    folds."""
    n = len(patients)
    return pd.DataFrame(
        {
            "row": np.arange(first_row, first_row + n),
            "dataset": "test",
            "record_id": [f"{number:05d}" for number in range(n)],
            "patient_id": list(patients),
            "fold": pd.array(
                [None] * n if folds is None else list(folds), dtype="Int64"
            ),
            "signal_hash": [f"h{number}" for number in range(n)]
            if hashes is None
            else list(hashes),
        }
    )


def check_partition(records: pd.DataFrame, splits: Splits) -> None:
    together = np.concatenate([splits.train, splits.valid, splits.test])
    assert sorted(together.tolist()) == records["row"].tolist()
    for rows in splits.parts.values():
        assert rows.dtype == np.int64
        assert len(rows) > 0
        assert (np.diff(rows) > 0).all()
    assert find_leakage(records, splits.parts).empty


def shares(counts: np.ndarray, records: pd.DataFrame, splits: Splits) -> np.ndarray:
    """Fraction of each class in train, valid and test: [3, n_classes]."""
    first = int(records["row"].iloc[0])
    totals = np.maximum(counts.sum(axis=0), 1)
    return np.stack(
        [counts[rows - first].sum(axis=0) / totals for rows in splits.parts.values()]
    )
