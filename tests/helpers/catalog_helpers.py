"""Small WFDB records and their labels, for tests of the catalogue."""

from __future__ import annotations

import numpy as np
import wfdb

from ecgnb.data.catalog import find_records


def write_record(folder, name, comments="", suffix=".dat"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"# {line}\n" for line in comments.splitlines())
    (folder / f"{name}.hea").write_text(
        f"{name} 1 500 5000\n{name}{suffix} 16 1000/mV 16 0 0 0 0 II\n{lines}"
    )
    (folder / f"{name}{suffix}").write_bytes(bytes(10000))


def labels(name, root, **options):
    manifest = find_records(name, root, **options)
    return dict(zip(manifest["record_id"], manifest["label"], strict=True))


def write_annotated(folder, name, n_samples, notes, fs=10):
    """Write a WFDB record with annotations ``(sample, symbol, note)``."""
    (folder / f"{name}.hea").write_text(
        f"{name} 1 {fs} {n_samples}\n{name}.dat 16 1000/mV 16 0 0 0 0 II\n"
    )
    (folder / f"{name}.dat").write_bytes(bytes(2 * n_samples))
    sample, symbol, note = map(list, zip(*notes, strict=True))
    wfdb.wrann(
        name,
        "atr",
        np.array(sample),
        symbol=symbol,
        aux_note=note,
        fs=fs,
        write_dir=str(folder),
    )
