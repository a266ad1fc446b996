"""What every reader shares: the request, the registry, and how a caller's word and a
file's word are joined.
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
    """What the caller of `read_recording` said about the file.

    Attributes:
        fs: samples a second in Hz; None to take the file's word.
        units: unit of the stored values such as ``"uV"``; None to take the file's word.
        leads: names of the file's leads in its order; None to take the file's word.
        start: first sample to read.
        n_samples: how many samples to read; None for all that follow ``start``.
        record_id: name of the recording; None for the file's name without its
            extension.
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
        total: samples of the whole recording.
    """

    start: int
    stop: int
    total: int

    @property
    def n_samples(self) -> int:
        """Samples in the part."""
        return self.stop - self.start


class Reader(ABC):
    """Reads one format.

    Attributes:
        suffixes: file extensions of the format, in lower case with their dot.
    """

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Return the recording in mV; whatever cannot be read is a `ReadError`."""


READERS: Registry[type[Reader]] = Registry("reader")


@contextlib.contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to open ``path`` into a `ReadError` with a
    reason.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ReadError(
            "missing_file", f"There is no file {path}. Check the path and the folder."
        ) from error
    except OSError as error:
        if path.is_dir():
            raise ReadError(
                "directory", f"{path} is a folder. Give the path of a recording in it."
            ) from error
        if isinstance(error, PermissionError):
            raise ReadError(
                "permission",
                f"{path} may not be read by this user. Change its permissions.",
            ) from error
        raise ReadError("unreadable", f"{path} cannot be opened: {error}.") from error


def resolve_window(request: ReadRequest, total: int, path: Path) -> Window:
    """Return the part that the caller asked for; one outside of the recording is
    refused as ``window``.
    """
    start = request.start
    stop = total if request.n_samples is None else start + request.n_samples
    if total == 0:
        raise ReadError("empty", f"{path} holds no samples.")
    if not 0 <= start < stop <= total:
        raise ReadError(
            "window",
            f"{path} has {total} samples; samples {start} to {stop} were asked for. Choose a part of them.",
        )
    return Window(start, stop, total)


def resolve_fs(
    request: ReadRequest, stated: float | None, path: Path
) -> tuple[float, tuple[str, ...]]:
    """Return the sampling rate in Hz, the caller's before the file's, and a flag where
    they contradict.
    """
    fs = request.fs if request.fs is not None else stated
    if fs is None or not math.isfinite(fs) or fs <= 0:
        said = "does not say" if fs is None else f"or the caller says {fs:g} Hz as"
        raise ReadError(
            "fs",
            f"{path} {said} its sampling rate. Pass it in Hz: fs=500, or --fs 500.",
        )
    overridden = request.fs is not None and stated is not None and request.fs != stated
    return float(fs), ("fs_overridden",) if overridden else ()


def resolve_leads(
    request: ReadRequest, stated: Sequence[str] | None, n_leads: int, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lead names in the house's spelling, the caller's before the file's,
    and flags.

    Where neither names them, twelve leads are taken for the standard ones in their
    usual order (flag ``leads_assumed``) and a single one is called ``"ECG"``.
    """
    names = request.leads if request.leads is not None else stated
    flags: tuple[str, ...] = ()
    if names is None:
        if n_leads not in (1, len(STANDARD_12)):
            raise ReadError(
                "leads",
                f"{path} does not name its {n_leads} leads. Pass their names, as in leads=[...].",
            )
        names, flags = (
            (STANDARD_12, ("leads_assumed",)) if n_leads > 1 else (("ECG",), ())
        )
    if len(names) != n_leads:
        raise ReadError(
            "leads",
            f"{path} has {n_leads} leads, but {len(names)} names were given: {', '.join(names)}. leads= names the "
            "leads of the file in its order; ecgnb.data.signal.leads.select_leads picks some of them.",
        )
    return tuple([normalise_lead(name) for name in names]), flags


def resolve_units(
    request: ReadRequest, stated: str | None
) -> tuple[str, tuple[str, ...]]:
    """Return the unit of the stored values, the caller's before the file's; mV (flag
    ``units_assumed``) without.
    """
    if request.units is not None:
        return request.units, ()
    return (stated, ()) if stated else ("mV", ("units_assumed",))


#: Millivolts in one unit, by the unit's name in lower case with the micro sign as u.
_MV_IN = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
_LONG = {"volt": "v", "millivolt": "mv", "microvolt": "uv", "nanovolt": "nv"}
_MICRO = str.maketrans(
    {"\u00b5": "u", "\u03bc": "u"}
)  # the micro sign and the Greek letter mu


@functools.lru_cache(maxsize=1024)
def mv_per_unit(units: str) -> float | None:
    """Return how many millivolts one ``units`` is, or None when it is no unit of
    voltage.

    The case does not matter: nobody measures an electrocardiogram in megavolts.

    >>> mv_per_unit("µV"), mv_per_unit("mv"), mv_per_unit("mmHg")
    (0.001, 1.0, None)
    """
    name = units.strip().translate(_MICRO).lower()
    name = _LONG.get(name.removesuffix("s"), name)
    return _MV_IN.get(name)


def require_voltage(units: str, what: str) -> float:
    """Return `mv_per_unit`; a unit that is not of voltage is a `ReadError` with the
    reason ``units``.
    """
    factor = mv_per_unit(units)
    if factor is None:
        raise ReadError(
            "units",
            f"{what} is in {units!r}, which is no unit of voltage (V, mV, uV or nV). "
            "If the file's word is wrong, pass the true unit, as in units='uV'.",
        )
    return factor


def scale_to_mv(values: np.ndarray, factor: float) -> np.ndarray:
    """Multiply float64 ``values`` by `mv_per_unit` in place, dividing where that rounds
    less, and return them.
    """
    if factor < 1.0:
        np.divide(values, round(1.0 / factor), out=values)
    elif factor > 1.0:
        np.multiply(values, factor, out=values)
    return values
