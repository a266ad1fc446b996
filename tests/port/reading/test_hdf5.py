"""HDF5 files: the extra, arrays of other files, arrays that are not stored."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from zoo_cases import ZOO

from ecgnb.core.errors import MissingExtraError, PortError
from ecgnb.port import port_keras


def test_hdf5_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ecgnb\[port\]"'):
        port_keras(ZOO / "nested_frozen_k2.h5")


def test_hdf5_with_arrays_of_another_file_is_refused(tmp_path: Path) -> None:
    """An HDF5 file may name bytes of any file as an array's; a converted port would
    publish them."""
    for name, spoil in (("external", _external), ("linked", _linked)):
        file = tmp_path / f"{name}.h5"
        file.write_bytes((ZOO / "nested_frozen_k2_weights.h5").read_bytes())
        with h5py.File(file, "r+") as weights:
            spoil(weights, tmp_path)
        with pytest.raises(PortError, match="is in another file"):
            port_keras(ZOO / "nested_frozen_k2.json", weights=file)


def _first(weights: h5py.File) -> str:
    names: list[str] = []
    weights.visititems(
        lambda name, item: (
            names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    )
    return names[0]


def _external(weights: h5py.File, folder: Path) -> None:
    name = _first(weights)
    shape = weights[name].shape
    secret = folder / "secret"
    secret.write_bytes(bytes(4 * int(np.prod(shape))))
    del weights[name]
    weights.create_dataset(
        name, shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )


def _linked(weights: h5py.File, folder: Path) -> None:
    name = _first(weights)
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = weights[name][...]
    del weights[name]
    weights[name] = h5py.ExternalLink(str(folder / "other.h5"), "a")


def test_hdf5_that_declares_more_than_it_stores_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sparse.h5"
    file.write_bytes((ZOO / "nested_frozen_k2_weights.h5").read_bytes())
    with h5py.File(file, "r+") as weights:
        name = _first(weights)
        del weights[name]
        weights.create_dataset(name, (40_000, 60_000), "f4")
    with pytest.raises(
        PortError, match=r"declared with 9600.0 MB, and the file stores 0 bytes"
    ):
        port_keras(ZOO / "nested_frozen_k2.json", weights=file)
