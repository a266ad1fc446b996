"""`read_recording`: one electrocardiogram from a file, whatever its format, in
millivolts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import READERS, Reader, ReadRequest
from ecgnb.data.readers.plausibility import amplitude_is_implausible
from ecgnb.data.readers.wfdb_header import header_path
from ecgnb.data.recording import Recording


def read_recording(
    path: str | Path,
    *,
    fs: float | None = None,
    units: str | None = None,
    leads: Sequence[str] | None = None,
    start: int = 0,
    n_samples: int | None = None,
    record_id: str | None = None,
) -> Recording:
    """Read one recording.

    Formats: WFDB (give the header, a signal file, or the name without an extension),
    MATLAB level 5, CSV, numpy. ``fs``, ``units`` and ``leads`` say what the file does
    not, and count more than what it says.

    Args:
        path: the file.
        fs: sampling rate in Hz; a flag ``fs_overridden`` tells when the file says
            another.
        units: unit of the stored values (``"mV"``, ``"uV"``, ``"V"``, ``"nV"``).
        leads: names of the file's leads in its order (to pick some, see
            `ecgnb.data.signal.leads.select_leads`).
        start: first sample to read.
        n_samples: how many samples to read; None for all that follow.
        record_id: name of the recording; None for the file's name without its
            extension.

    Returns:
        The recording: float32 ``[n_leads, n_samples]`` in mV, NaN where the file says
        that a sample is invalid. Its flags may be ``header_repaired`` (a header against
        the rules whose meaning is certain), ``default_gain`` (none stated),
        ``implausible_gain`` (an amplitude that no heart makes, or a gain known to be
        wrong), ``dropped_signals`` (channels that are no voltage), ``fs_overridden``,
        ``duplicate_leads``, and ``units_assumed``, ``gain_assumed``, ``leads_assumed``
        where neither file nor caller said.

    Raises:
        ReadError: with one of the reasons ``missing_file``, ``permission``,
            ``directory``, ``empty``, ``truncated``, ``header``, ``unsafe_path``,
            ``no_signal``, ``fs``, ``units``, ``leads``, ``window``, ``text``, ``time``,
            ``shape``, ``pickle``, ``too_large``, ``unknown_format``, ``unreadable``.
    """
    path = Path(path)
    if "\0" in path.name:
        raise ReadError(
            "missing_file", f"{str(path)!r} is no path. Give that of a recording."
        )
    names = None if leads is None else tuple(leads)
    request = ReadRequest(fs, units, names, start, n_samples, record_id)
    recording = choose_reader(path).read(path, request)
    flags = recording.flags
    if "implausible_gain" not in flags and amplitude_is_implausible(recording.signal):
        flags += ("implausible_gain",)
    if len(set(recording.leads)) < len(recording.leads):
        flags += ("duplicate_leads",)
    return (
        recording
        if flags is recording.flags
        else dataclasses.replace(recording, flags=flags)
    )


def choose_reader(path: Path) -> Reader:
    """Return the reader for a path, by its extension; what no other format claims is a
    WFDB record's name.
    """
    suffix = path.suffix.lower()
    if suffix == ".mat":
        # The signal files of many WFDB records are also MATLAB files; the header knows
        # more.
        return READERS.get("wfdb" if header_path(path).is_file() else "matlab")()
    for name in READERS:
        reader = READERS.get(name)
        if suffix in reader.suffixes:
            return reader()
    if not header_path(path).is_file():
        _explain_missing_header(path)
    return READERS.get("wfdb")()


def _explain_missing_header(path: Path) -> None:
    """Say more than "no such file" where a file or a folder is there; else leave it to
    the reader.
    """
    if path.is_dir():
        raise ReadError(
            "directory", f"{path} is a folder. Give the path of a recording in it."
        )
    if path.is_file():
        known = sorted(
            {known for name in READERS for known in READERS.get(name).suffixes}
        )
        raise ReadError(
            "unknown_format",
            f"{path} has no format that can be read. There are readers for {', '.join(known)}.",
        )
