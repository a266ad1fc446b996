"""Manifests: columns, types, files, fingerprints."""

from __future__ import annotations

import pandas as pd

from ecgnb.data.manifest import (
    COLUMNS,
    as_manifest,
    manifest_fingerprint,
    read_manifest,
    write_manifest,
)

ROWS = [
    {"record_id": "00001", "fold": 3, "fs": 500.0, "n_samples": 5000, "label": "MI"},
    {"record_id": "NA", "patient_id": None, "start": 100},
]


def test_missing_columns_are_filled_by_type():
    manifest = as_manifest(ROWS)
    assert list(manifest.columns) == list(COLUMNS)
    assert manifest["patient_id"].tolist() == ["", ""]
    assert manifest["start"].tolist() == [0, 100]
    assert manifest["fold"].isna().tolist() == [False, True]
    types = manifest.dtypes.astype(str)
    assert {name: types[name] for name in COLUMNS} == COLUMNS
    assert as_manifest([]).dtypes.equals(manifest.dtypes)


def test_what_is_written_is_read_back(tmp_path):
    manifest = as_manifest(ROWS)
    write_manifest(tmp_path / "manifest.csv", manifest)
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "manifest.csv"), manifest)


def test_the_fingerprint_changes_with_any_value():
    manifest = as_manifest(ROWS)
    fingerprint = manifest_fingerprint(manifest)
    assert (
        fingerprint == manifest_fingerprint(manifest.copy()) and len(fingerprint) == 12
    )
    assert fingerprint != manifest_fingerprint(manifest.assign(start=1))
    assert fingerprint != manifest_fingerprint(manifest[::-1])
