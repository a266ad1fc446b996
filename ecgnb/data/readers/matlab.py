"""MATLAB files (level 5) without a WFDB header: the matrices of the PhysioNet
Challenges, the structs of CPSC2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    explained_os_errors,
    resolve_fs,
    resolve_leads,
    resolve_units,
    resolve_window,
)
from ecgnb.data.readers.numpy_arrays import array_to_mv, orient
from ecgnb.data.readers.wfdb_header import parse_comments
from ecgnb.data.recording import Recording

#: ADC units in a millivolt of the integer matrices of the PhysioNet/CinC Challenges
#: 2017, 2020 and 2021.
CHALLENGE_GAIN = 1000
#: Sampling rate in Hz of the China Physiological Signal Challenge 2018, whose structs
#: do not state it.
CPSC2018_FS = 500.0

_VERSION_73 = b"MATLAB 7.3"


@READERS.register("matlab")
class MatlabReader(Reader):
    """MATLAB level 5 files that stand alone.

    Two forms are known. A struct ``ECG`` with the fields ``sex``, ``age`` and ``data``,
    as in CPSC2018: twelve leads in mV at 500 Hz. A matrix ``val`` ``[n_leads,
    n_samples]``, as in the PhysioNet/CinC Challenges: whole numbers are ADC units at
    1000 to the millivolt (flag ``gain_assumed``), other numbers are mV (flag
    ``units_assumed``); the sampling rate is not in the file.
    """

    suffixes = (".mat",)

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; a form that is not known is refused as ``unknown_format``."""
        content = _load(path)
        if "ECG" in content:
            values, fs, comments = _from_struct(content["ECG"], path)
            units, unit_flags = resolve_units(request, "mV")
        elif "val" in content:
            values, fs, comments = content["val"], None, []
            units, unit_flags = resolve_units(request, None)
            if request.units is None and np.asarray(values).dtype.kind in "iu":
                units, unit_flags = (
                    "uV",
                    ("gain_assumed",),
                )  # 1000 to the millivolt are microvolts
        else:
            known = ", ".join(
                repr(name) for name in content if not name.startswith("__")
            )
            raise ReadError(
                "unknown_format",
                f"{path} holds {known or 'nothing'}. A struct 'ECG' or a matrix 'val' is needed.",
            )
        values = orient(np.asarray(values), request.leads, path)
        window = resolve_window(request, values.shape[1], path)
        rate, fs_flags = resolve_fs(request, fs, path)
        leads, lead_flags = resolve_leads(request, None, len(values), path)
        if "ECG" in content:
            lead_flags = ()  # the order of the leads is part of the data set's definition
        metadata = parse_comments(comments)
        del metadata["patient_id"]
        return Recording(
            signal=array_to_mv(values[:, window.start : window.stop], units, path),
            fs=rate,
            leads=leads,
            record_id=request.record_id or path.stem,
            metadata=metadata,
            flags=unit_flags + fs_flags + lead_flags,
        )


def _load(path: Path) -> dict[str, Any]:
    import scipy.io

    with explained_os_errors(path):
        with open(path, "rb") as file:
            start = file.read(len(_VERSION_73))
        if not start:
            raise ReadError("empty", f"{path} is empty. Fetch it again.")
        if start == _VERSION_73:
            raise ReadError(
                "unknown_format",
                f"{path} is a MATLAB 7.3 (HDF5) file. Save it with -v7 and read that.",
            )
        try:
            return scipy.io.loadmat(path)
        except OSError:
            raise
        except Exception as error:  # damaged files make scipy raise nearly anything
            raise ReadError(
                "unreadable",
                f"{path} is not a whole MATLAB file: {error}. Fetch it again.",
            ) from error


def _from_struct(struct: Any, path: Path) -> tuple[Any, float, list[str]]:
    """Take signal, sampling rate and patient out of a struct of CPSC2018."""
    fields = getattr(getattr(struct, "dtype", None), "names", None) or ()
    if "data" not in fields or struct.size != 1:
        raise ReadError(
            "unknown_format",
            f"{path} holds a variable 'ECG' that is no struct with a field 'data'.",
        )
    entry = struct.reshape(-1)[0]
    known = [
        name for name in ("sex", "age") if name in fields and np.size(entry[name]) == 1
    ]
    return (
        entry["data"],
        CPSC2018_FS,
        [f"{name}: {np.asarray(entry[name]).reshape(-1)[0]}" for name in known],
    )
