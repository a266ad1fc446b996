"""Reader of MATLAB level 5 files (`.mat`) without a WFDB header."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    explained_os_errors,
    resolve_units,
)
from ecgnb.data.readers.header_comments import parse_comments
from ecgnb.data.readers.numpy_arrays import array_recording
from ecgnb.data.recording import Recording

#: Sampling rate in Hz of the China Physiological Signal Challenge 2018; its files do
#: not state it.
CPSC2018_FS = 500.0

_VERSION_73 = b"MATLAB 7.3"


@READERS.register("matlab")
class MatlabReader(Reader):
    """MATLAB level 5 files in one of two forms.

    A struct ``ECG`` with the fields ``sex``, ``age`` and ``data``, as in CPSC2018:
    twelve leads in mV at 500 Hz.

    A matrix ``val`` ``[n_leads, n_samples]``, as in the PhysioNet/CinC Challenges:
    integers are ADC units at 1000/mV (flag ``gain_assumed``), other numbers are mV
    (flag ``units_assumed``). The sampling rate is not in the file.
    """

    suffixes = (".mat",)

    def read(self, path: Path, request: ReadRequest) -> Recording:
        """Read the file; other forms are refused as ``unknown_format``."""
        content = _load(path)
        file_fs, file_units = None, None
        comments: list[str] = []
        is_struct = "ECG" in content
        if is_struct:
            file_fs, file_units = CPSC2018_FS, "mV"
            values, comments = _struct_fields(content["ECG"], path)
        elif "val" in content:
            values = content["val"]
        else:
            names = [repr(name) for name in content if not name.startswith("__")]
            raise ReadError(
                "unknown_format",
                f"{path} holds {', '.join(names) or 'nothing'}. "
                "A struct 'ECG' or a matrix 'val' is needed.",
            )
        units, flags = resolve_units(request, file_units)
        values = np.asarray(values)
        if "units_assumed" in flags and values.dtype.kind in "iu":
            # 1000 ADC units per mV, the gain of the Challenges 2017, 2020 and 2021
            units, flags = "uV", ("gain_assumed",)
        recording = array_recording(values, request, path, file_fs, None, units)
        for flag in recording.flags:
            # the data set of the structs defines the order of the leads
            if flag != "leads_assumed" or not is_struct:
                flags += (flag,)
        metadata = parse_comments(comments)
        del metadata["patient_id"]
        return dataclasses.replace(recording, metadata=metadata, flags=flags)


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
                f"{path} is not a complete MATLAB file: {error}. Fetch it again.",
            ) from error


def _struct_fields(struct: Any, path: Path) -> tuple[Any, list[str]]:
    """Return the signal of a CPSC2018 struct, and sex and age as header comments."""
    fields = getattr(getattr(struct, "dtype", None), "names", None) or ()
    if "data" not in fields or struct.size != 1:
        raise ReadError(
            "unknown_format",
            f"{path} holds a variable 'ECG' that is not a struct with a field 'data'.",
        )
    entry = struct.reshape(-1)[0]
    comments = []
    for name in ("sex", "age"):
        if name in fields and np.size(entry[name]) == 1:
            value = np.asarray(entry[name]).reshape(-1)[0]
            comments.append(f"{name}: {value}")
    return entry["data"], comments
