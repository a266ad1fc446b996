"""Arrays saved by numpy: `.npy` and `.npz`. Pickled objects in them are never
loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    explained_os_errors,
    require_voltage,
    resolve_fs,
    resolve_leads,
    resolve_units,
    resolve_window,
    scale_to_mv,
)
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12


def orient(values: np.ndarray, leads: Sequence[str] | None, path: Path) -> np.ndarray:
    """Turn an array so that its rows are the leads.

    The axis as long as there are names is that of the leads; without names, one of 12
    entries, else one of a single entry. Where both axes or none would do, the array is
    taken as ``[n_leads, n_samples]``.

    Returns:
        The array ``[n_leads, n_samples]``, a view.

    Raises:
        ReadError: ``shape``, unless the array has one or two axes with something in
            them; ``text``, unless it holds real numbers.
    """
    if values.dtype.kind not in "iuf":
        raise ReadError(
            "text", f"{path} holds {values.dtype} where real numbers should be."
        )
    if values.ndim == 1:
        values = values[None, :]
    if values.ndim != 2:
        raise ReadError(
            "shape",
            f"{path} holds an array of shape {values.shape}. Save it as [n_leads, n_samples], a record a file.",
        )
    if values.size == 0:
        raise ReadError(
            "empty", f"{path} holds an array of shape {values.shape}, without samples."
        )
    likely = (len(leads),) if leads is not None else (len(STANDARD_12), 1)
    count = next((count for count in likely if count in values.shape), len(values))
    return values if len(values) == count else values.T


def array_to_mv(values: np.ndarray, units: str, path: Path) -> np.ndarray:
    """Convert numbers in ``units`` to float32 mV, C-contiguous; by float64, so that
    nothing is rounded twice.
    """
    factor = require_voltage(units, str(path))
    with np.errstate(
        over="ignore"
    ):  # what float32 cannot hold becomes infinite, and its amplitude is flagged
        if factor == 1.0:
            return np.array(values, dtype=np.float32, order="C")
        return scale_to_mv(
            np.array(values, dtype=np.float64, order="C"), factor
        ).astype(np.float32)


#: Names under which an `.npz` may hold each thing, the first that is there counts.
KEYS = {
    "signal": ("signal", "signals", "ecg", "data", "val", "x", "arr_0"),
    "fs": ("fs", "sampling_rate", "sample_rate", "sampling_frequency", "frequency"),
    "leads": ("leads", "lead_names", "sig_name", "channels"),
    "units": ("units", "unit"),
}

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_WORDS = (
    "allow_pickle",
    "Python objects",
)  # in what numpy says where it refuses to load a pickle


@READERS.register("numpy")
class NumpyReader(Reader):
    """One recording as an array, ``[n_leads, n_samples]`` or ``[n_samples, n_leads]``.

    An `.npz` may hold ``fs``, ``leads`` and ``units`` beside the signal (other names:
    `KEYS`); for an `.npy` the caller gives them. Without a unit the numbers are mV
    (flag ``units_assumed``).
    """

    suffixes = (".npy", ".npz")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a pickle in it is refused as ``pickle``."""
        stated = _load(path)
        stated_leads = _names(stated.get("leads"))
        values = orient(stated["signal"], request.leads or stated_leads, path)
        window = resolve_window(request, values.shape[1], path)
        fs, fs_flags = resolve_fs(request, _number(stated.get("fs"), path), path)
        leads, lead_flags = resolve_leads(request, stated_leads, len(values), path)
        units, unit_flags = resolve_units(request, _text(stated.get("units")))
        return Recording(
            signal=array_to_mv(values[:, window.start : window.stop], units, path),
            fs=fs,
            leads=leads,
            record_id=request.record_id or path.stem,
            flags=fs_flags + lead_flags + unit_flags,
        )


def _load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by what they are."""
    with explained_os_errors(path):
        with open(path, "rb") as file:
            magic = file.read(len(_NPY_MAGIC))
        if not magic:
            raise ReadError("empty", f"{path} is empty. Fetch it again.")
        if magic[:1] == b"\x80":
            raise _pickle_refused(path)
        if magic != _NPY_MAGIC and magic[:4] != _ZIP_MAGIC:
            raise ReadError(
                "unreadable",
                f"{path} is no numpy file: it begins with {magic!r}. Fetch it again.",
            )
        try:
            # A memory map is as long as its file: a header that promises more is
            # refused before memory is reserved.
            content = np.load(path, allow_pickle=False, mmap_mode="r")
            if isinstance(content, np.ndarray):
                return {"signal": content}
            with content:
                return _members(content, path)
        except (OSError, ReadError):
            raise
        except (
            Exception
        ) as error:  # damaged archives raise from zipfile, zlib, struct, tokenize ...
            if any(word in str(error) for word in _PICKLE_WORDS):
                raise _pickle_refused(path) from error
            raise ReadError(
                "unreadable",
                f"{path} is not a whole numpy file: {error}. Fetch it again.",
            ) from error


def _pickle_refused(path: Path) -> ReadError:
    return ReadError(
        "pickle",
        f"{path} is or holds a pickle, which may run code. Save plain numbers instead.",
    )


def _members(archive: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    found = {}
    for what, names in KEYS.items():
        key = next((name for name in names if name in archive), None)
        if key is not None:
            found[what] = archive[key]
    if "signal" not in found:
        raise ReadError(
            "unknown_format",
            f"{path} holds {', '.join(archive) or 'nothing'}; none of it is called {', '.join(KEYS['signal'])}.",
        )
    return found


def _names(value: Any) -> tuple[str, ...] | None:
    return (
        None if value is None else tuple([str(name) for name in np.atleast_1d(value)])
    )


def _text(value: Any) -> str | None:
    return (
        None
        if value is None or np.size(value) == 0
        else str(np.asarray(value).reshape(-1)[0])
    )


def _number(value: Any, path: Path) -> float | None:
    text = _text(value)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise ReadError(
            "fs",
            f"{path} states the rate {text!r}. Pass it in Hz: fs=500, or --fs 500.",
        ) from error
