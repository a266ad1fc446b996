"""HDF5 as Keras writes it: arrays, attributes with text, lists of names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ecgnb.core.errors import MissingExtraError, PortError

if TYPE_CHECKING:
    import h5py

#: No weights can be compressed further than this.
MOST_COMPRESSED = 1000


def open_hdf5(source: Path | BinaryIO) -> h5py.File:
    """Open an HDF5 file for reading."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("port", "h5py", "Reading Keras files") from error
    return h5py.File(source, "r")


def read_array(group: h5py.Group, name: str) -> np.ndarray:
    """Read one array, from this file alone and no larger than what is stored of it.

    Raises:
        PortError: the array is in another file, or is declared without being stored.
    """
    import h5py

    path = f"{group.name}/{name}"
    linked = isinstance(group.get(name, getlink=True), h5py.ExternalLink)
    if linked or group[name].external or group[name].is_virtual:
        raise PortError(
            f"The array {path} is in another file, which Keras never writes; it is not "
            "read from there."
        )
    dataset = group[name]
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > MOST_COMPRESSED * stored:  # before memory is taken
        raise PortError(
            f"The array {path} is declared with {dataset.nbytes / 1e6:.1f} MB, and the "
            f"file stores {stored} bytes of it. The file was cut, or never written to "
            "its end."
        )
    return np.asarray(dataset)


def names_in(group: h5py.Group, name: str) -> list[str] | None:
    """Return a list of names kept as an attribute; long ones are split into ``name0``,
    ``name1`` and so on.
    """
    keys = [key for key in group.attrs if re.fullmatch(rf"{name}\d+", key)]
    keys.sort(key=lambda key: (len(key), key))  # 10 after 9
    if name in group.attrs:
        keys = [name]
    if not keys:
        return None
    return [text(item) for key in keys for item in group.attrs[key]]


def text(value: Any) -> str:
    """Return an attribute of an HDF5 file as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8")  # h5py returns bytes or str
    return str(value)
