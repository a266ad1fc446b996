"""Reader of numpy files, `.npy` and `.npz`; pickled objects are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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

#: Names under which an `.npz` may hold each entry; the first that exists counts.
KEYS = {
    "signal": ("signal", "signals", "ecg", "data", "val", "x", "arr_0"),
    "fs": ("fs", "sampling_rate", "sample_rate", "sampling_frequency", "frequency"),
    "leads": ("leads", "lead_names", "sig_name", "channels"),
    "units": ("units", "unit"),
}

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
#: Words of numpy's messages when it refuses to load a pickle.
_PICKLE_WORDS = ("allow_pickle", "Python objects")


@READERS.register("numpy")
class NumpyReader(Reader):
    """One recording as an array, ``[n_leads, n_samples]`` or ``[n_samples, n_leads]``.

    An `.npz` may hold ``fs``, ``leads`` and ``units`` beside the signal (other names:
    `KEYS`); for an `.npy` the caller passes them. Without a unit the numbers are mV
    (flag ``units_assumed``).
    """

    suffixes = (".npy", ".npz")

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a pickle in it is refused as ``pickle``."""
        arrays = _load(path)
        file_fs = _number(arrays["fs"], path) if "fs" in arrays else None
        file_units = _text(arrays["units"]) if "units" in arrays else None
        file_leads = None
        if "leads" in arrays:
            file_leads = tuple(map(str, np.atleast_1d(arrays["leads"])))
        return array_recording(
            arrays["signal"], request, path, file_fs, file_leads, file_units
        )


def array_recording(
    values: np.ndarray,
    request: ReadRequest,
    path: Path,
    file_fs: float | None,
    file_leads: tuple[str, ...] | None,
    file_units: str | None,
) -> Recording:
    """Return a recording from an array in any orientation.

    Args:
        values: the whole signal.
        request: arguments of `read_recording`, which count more than the file's facts.
        path: the file.
        file_fs: sampling rate in Hz that the file states.
        file_leads: lead names that the file states.
        file_units: unit that the file states.
    """
    values = orient(values, request.leads or file_leads, path)
    window = resolve_window(request, values.shape[1], path)
    fs, fs_flags = resolve_fs(request, file_fs, path)
    leads, lead_flags = resolve_leads(request, file_leads, len(values), path)
    units, unit_flags = resolve_units(request, file_units)
    return Recording(
        signal=array_to_mv(values[:, window.start : window.stop], units, path),
        fs=fs,
        leads=leads,
        record_id=request.record_id or path.stem,
        flags=fs_flags + lead_flags + unit_flags,
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by the keys of `KEYS`."""
    with explained_os_errors(path):
        with open(path, "rb") as file:
            magic = file.read(len(_NPY_MAGIC))
        if not magic:
            raise ReadError("empty", f"{path} is empty. Fetch it again.")
        if magic.startswith(_PICKLE_MAGIC):
            raise _pickle_error(path)
        if not magic.startswith((_NPY_MAGIC, _ZIP_MAGIC)):
            raise ReadError(
                "unreadable",
                f"{path} is not a numpy file: it begins with {magic!r}. "
                "Fetch it again.",
            )
        try:
            # A memory map cannot be longer than its file: a header that states a larger
            # shape is refused before memory is reserved.
            content = np.load(path, allow_pickle=False, mmap_mode="r")
            if isinstance(content, np.ndarray):
                return {"signal": content}
            with content:
                return _archive_arrays(content, path)
        except (OSError, ReadError):
            raise
        except Exception as error:  # damaged archives: zipfile, zlib, struct, tokenize
            if any(word in str(error) for word in _PICKLE_WORDS):
                raise _pickle_error(path) from error
            raise ReadError(
                "unreadable",
                f"{path} is not a complete numpy file: {error}. Fetch it again.",
            ) from error


def _pickle_error(path: Path) -> ReadError:
    return ReadError(
        "pickle",
        f"{path} is or holds a pickle, which may run code. Save plain numbers instead.",
    )


def _archive_arrays(
    archive: Mapping[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    arrays = {}
    for entry, names in KEYS.items():
        for name in names:
            if name in archive:
                arrays[entry] = archive[name]
                break
    if "signal" not in arrays:
        raise ReadError(
            "unknown_format",
            f"{path} holds {', '.join(archive) or 'nothing'}; "
            f"no array is called {', '.join(KEYS['signal'])}.",
        )
    return arrays


def _text(value: np.ndarray) -> str | None:
    """Return the first element as text, None for an empty array."""
    if np.size(value) == 0:
        return None
    return str(np.asarray(value).reshape(-1)[0])


def _number(value: np.ndarray, path: Path) -> float | None:
    text = _text(value)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise ReadError(
            "fs",
            f"{path} states the sampling rate {text!r}. Pass it in Hz: fs=500, "
            "or --fs 500.",
        ) from error


def orient(values: np.ndarray, leads: Sequence[str] | None, path: Path) -> np.ndarray:
    """Transpose an array, where needed, so that its rows are the leads.

    The axis of the leads is the one as long as ``leads``; without ``leads``, the one of
    12 entries, else the one of a single entry. Where both axes or none fit, the array
    is taken as ``[n_leads, n_samples]``.

    Returns:
        The array ``[n_leads, n_samples]``, a view.

    Raises:
        ReadError: ``shape``, more than two axes or none; ``empty``, no elements;
            ``text``, not real numbers.
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
            f"{path} holds an array of shape {values.shape}. "
            "Save it as [n_leads, n_samples], one recording per file.",
        )
    if values.size == 0:
        raise ReadError(
            "empty", f"{path} holds an array of shape {values.shape}, without samples."
        )
    counts = (len(STANDARD_12), 1) if leads is None else (len(leads),)
    for n_leads in counts:
        if n_leads in values.shape:
            return values if len(values) == n_leads else values.T
    return values


def array_to_mv(values: np.ndarray, units: str, path: Path) -> np.ndarray:
    """Convert numbers in ``units`` to float32 mV, C-contiguous.

    Other units than mV are scaled in float64, so that nothing is rounded twice. What
    float32 cannot hold becomes infinite; its amplitude is flagged by `read_recording`.
    """
    factor = require_voltage(units, str(path))
    with np.errstate(over="ignore"):
        if factor == 1.0:
            return np.array(values, dtype=np.float32, order="C")
        precise = np.array(values, dtype=np.float64, order="C")
        return scale_to_mv(precise, factor).astype(np.float32)
