"""Reader base class and registry, and the checks that all readers share.

A value that the caller passes (rate, unit, lead names) counts more than the file's.
"""

from __future__ import annotations

import contextlib
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.core.registry import Registry
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12, normalise_lead


@dataclass(frozen=True)
class ReadRequest:
    """Arguments of `read_recording`, without the path.

    Attributes:
        fs: sampling rate in Hz; None to use the file's.
        units: unit of the stored values such as ``"uV"``; None to use the file's.
        leads: names of the file's leads in its order; None to use the file's.
        start: first sample to read.
        n_samples: number of samples to read; None for all from ``start`` on.
        record_id: name of the recording; None for the file name without extension.
    """

    fs: float | None = None
    units: str | None = None
    leads: tuple[str, ...] | None = None
    start: int = 0
    n_samples: int | None = None
    record_id: str | None = None


@dataclass(frozen=True)
class Window:
    """The part of a recording to read.

    Attributes:
        start: first sample.
        stop: sample after the last.
        total: number of samples of the whole recording.
    """

    start: int
    stop: int
    total: int

    @property
    def n_samples(self) -> int:
        """Number of samples in the part."""
        return self.stop - self.start


class Reader(ABC):
    """Base class of readers, one for each format.

    A subclass registered with ``@READERS.register(name)`` is all that a new format
    needs: its files are found in folders, read by `read_recording`, predicted, and
    matched to the rows of a label file. In this package it is imported by itself;
    elsewhere, such as in a notebook, the decorator is enough.

    Attributes:
        suffixes: extensions of its recordings, in lower case with their dot.
    """

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Return the recording in mV.

        Raises:
            ReadError: the file cannot be read; no other exception may come out.
        """

    def is_recording(self, path: Path) -> bool:
        """Return whether a file of these suffixes, found in a folder, is a recording.

        Readers of extensions that other files share override this.
        """
        return True


READERS: Registry[type[Reader]] = Registry("reader")


def recording_suffixes() -> tuple[str, ...]:
    """Return the extensions of all registered readers, sorted.

    >>> recording_suffixes()
    ('.csv', '.hea', '.mat', '.npy', '.npz', '.tsv', '.txt')
    """
    suffixes: set[str] = set()
    for name in READERS:
        suffixes.update(READERS.get(name).suffixes)
    return tuple(sorted(suffixes))


def reader_for_suffix(suffix: str) -> Reader | None:
    """Return the reader of an extension (``".csv"``), None where there is none."""
    for name in READERS:
        reader = READERS.get(name)
        if suffix.lower() in reader.suffixes:
            return reader()
    return None


@contextlib.contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` at ``path`` into a `ReadError` with its reason."""
    try:
        yield
    except OSError as error:
        reason, message = "unreadable", f"{path} cannot be opened: {error}."
        if isinstance(error, FileNotFoundError):
            reason = "missing_file"
            message = f"There is no file {path}. Check the path and the folder."
        elif path.is_dir():  # Windows reports a folder as a PermissionError
            reason = "directory"
            message = f"{path} is a folder. Give the path of a recording in it."
        elif isinstance(error, PermissionError):
            reason = "permission"
            message = f"{path} may not be read by this user. Change its permissions."
        raise ReadError(reason, message) from error


def resolve_window(request: ReadRequest, total: int, path: Path) -> Window:
    """Return the requested part of a recording of ``total`` samples.

    Raises:
        ReadError: ``empty``, the recording has no samples; ``window``, the part is not
            inside it.
    """
    start = request.start
    stop = total if request.n_samples is None else start + request.n_samples
    if total == 0:
        raise ReadError("empty", f"{path} holds no samples.")
    if not 0 <= start < stop <= total:
        raise ReadError(
            "window",
            f"{path} has {total} samples; samples {start} to {stop} were requested. "
            "Choose a part of them.",
        )
    return Window(start, stop, total)


def resolve_fs(
    request: ReadRequest,
    file_fs: float | None,
    path: Path,
) -> tuple[float, tuple[str, ...]]:
    """Return the sampling rate in Hz, and the flag ``fs_overridden`` where request and
    file differ.
    """
    fs = request.fs if request.fs is not None else file_fs
    if fs is None:
        raise ReadError(
            "fs",
            f"{path} does not state its sampling rate. Pass it in Hz: fs=500, "
            "or --fs 500.",
        )
    if not math.isfinite(fs) or fs <= 0:
        raise ReadError(
            "fs",
            f"The sampling rate {fs:g} Hz of {path} is not possible. Pass it in Hz: "
            "fs=500, or --fs 500.",
        )
    overridden = request.fs is not None and file_fs not in (None, request.fs)
    return float(fs), ("fs_overridden",) if overridden else ()


def resolve_leads(
    request: ReadRequest,
    file_leads: Sequence[str] | None,
    n_leads: int,
    path: Path,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the normalised lead names, and flags.

    Where neither request nor file names them, twelve leads are the standard ones in
    their usual order (flag ``leads_assumed``) and a single lead is ``"ECG"``.
    """
    names = request.leads if request.leads is not None else file_leads
    flags: tuple[str, ...] = ()
    if names is None and n_leads == len(STANDARD_12):
        names, flags = STANDARD_12, ("leads_assumed",)
    elif names is None and n_leads == 1:
        names = ("ECG",)
    elif names is None:
        raise ReadError(
            "leads",
            f"{path} does not name its {n_leads} leads. Pass their names, as in "
            "leads=[...].",
        )
    if len(names) != n_leads:
        raise ReadError(
            "leads",
            f"{path} has {n_leads} leads, but {len(names)} names were given: "
            f"{', '.join(names)}. leads= names the leads of the file in its order; "
            "ecgnb.data.signal.leads.select_leads picks some of them.",
        )
    return tuple([normalise_lead(name) for name in names]), flags


def resolve_units(
    request: ReadRequest, file_units: str | None
) -> tuple[str, tuple[str, ...]]:
    """Return the unit of the stored values; mV (flag ``units_assumed``) where neither
    request nor file states one.
    """
    if request.units is not None:
        return request.units, ()
    if file_units:
        return file_units, ()
    return "mV", ("units_assumed",)


#: Millivolts per unit, by the unit's name in lower case with the micro sign as u.
_MV_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
_LONG_NAMES = {"volt": "v", "millivolt": "mv", "microvolt": "uv", "nanovolt": "nv"}
_MICRO = str.maketrans("\u00b5\u03bc", "uu")  # micro sign and Greek letter mu


@functools.lru_cache(maxsize=1024)
def mv_per_unit(units: str) -> float | None:
    """Return the millivolts in one ``units``, or None for what is no unit of voltage.

    The case does not matter: no electrocardiogram is in megavolts.

    >>> mv_per_unit("µV"), mv_per_unit("mv"), mv_per_unit("mmHg")
    (0.001, 1.0, None)
    """
    name = units.strip().translate(_MICRO).lower()
    name = _LONG_NAMES.get(name.removesuffix("s"), name)
    return _MV_PER_UNIT.get(name)


def require_voltage(units: str, what: str) -> float:
    """Return `mv_per_unit`; raise `ReadError` (``units``) for other units."""
    factor = mv_per_unit(units)
    if factor is None:
        raise ReadError(
            "units",
            f"{what} is in {units!r}, which is no unit of voltage (V, mV, uV or nV). "
            "If the file states it wrongly, pass the true unit, as in units='uV'.",
        )
    return factor


def scale_to_mv(values: np.ndarray, factor: float) -> np.ndarray:
    """Multiply float64 ``values`` by `mv_per_unit` in place, and return them."""
    if factor < 1.0:  # 1e-3 has no exact float: dividing by 1000 rounds only once
        np.divide(values, round(1.0 / factor), out=values)
    elif factor > 1.0:
        np.multiply(values, factor, out=values)
    return values
