"""`read_recording`: read an ECG file of any format as millivolts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ecgnb.core.errors import ReadError
from ecgnb.core.transient import retried
from ecgnb.data.readers.base import (
    Reader,
    ReadRequest,
    reader_for_suffix,
    recording_suffixes,
)
from ecgnb.data.readers.plausibility import amplitude_is_implausible
from ecgnb.data.readers.wfdb_header import SIGNAL_SUFFIXES, header_path
from ecgnb.data.readers.wfdb_record import WfdbReader
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

    Formats: WFDB (the path of the header, of a signal file, or without extension),
    MATLAB level 5, CSV, numpy, and those of further registered readers. ``fs``,
    ``units`` and ``leads`` add what the file does not state, and override what it does.

    Args:
        path: the file.
        fs: sampling rate in Hz; flag ``fs_overridden`` where the file states another.
        units: unit of the stored values (``"mV"``, ``"uV"``, ``"V"``, ``"nV"``).
        leads: names of the file's leads in its order (to pick some, see
            `ecgnb.data.signal.leads.select_leads`).
        start: first sample to read.
        n_samples: number of samples to read; None for all from ``start`` on.
        record_id: name of the recording; None for the file name without extension.

    Returns:
        The recording: float32 ``[n_leads, n_samples]`` in mV, NaN for samples marked as
        invalid. Flags: ``header_repaired`` (the header breaks the rules, its meaning is
        certain), ``default_gain`` (none stated), ``implausible_gain`` (an amplitude
        that no heart produces, or a gain known to be wrong), ``dropped_signals``
        (channels that are not voltages), ``fs_overridden``, ``duplicate_leads``;
        ``units_assumed``, ``gain_assumed``, ``leads_assumed`` where neither the file
        nor the caller states them.

    Raises:
        ReadError: with the reason ``missing_file``, ``permission``,
            ``directory``, ``empty``, ``truncated``, ``header``, ``unsafe_path``,
            ``no_signal``, ``fs``, ``units``, ``leads``, ``window``, ``text``, ``time``,
            ``shape``, ``pickle``, ``too_large``, ``unknown_format``, ``unreadable``.
        TryAgainError: a `ReadError` with the reason ``try_again``: the disk, a network
            drive or the memory failed, also after some attempts.
    """
    path = Path(path)
    if "\0" in path.name:
        raise ReadError(
            "missing_file", f"{str(path)!r} is not a path. Give that of a recording."
        )
    names = None if leads is None else tuple(leads)
    request = ReadRequest(fs, units, names, start, n_samples, record_id)
    recording = retried(lambda: choose_reader(path).read(path, request), path)
    flags = recording.flags
    if "implausible_gain" not in flags and amplitude_is_implausible(recording.signal):
        flags += ("implausible_gain",)
    if len(set(recording.leads)) < len(recording.leads):
        flags += ("duplicate_leads",)
    if flags is recording.flags:
        return recording
    return dataclasses.replace(recording, flags=flags)


def choose_reader(path: Path) -> Reader:
    """Return the reader of a path, by its extension.

    A path with an extension of no reader is the name of a WFDB record, or one of its
    signal files.

    Raises:
        ReadError: ``directory`` or ``unknown_format``, where ``path`` is a folder or a
            file without a WFDB header.
    """
    suffix = path.suffix.lower()
    if suffix in SIGNAL_SUFFIXES and header_path(path).is_file():
        return WfdbReader()  # many are MATLAB files too, but the header has the gains
    reader = reader_for_suffix(suffix)
    if reader is not None:
        return reader
    if suffix not in SIGNAL_SUFFIXES and not header_path(path).is_file():
        _check_path_without_header(path)
    return WfdbReader()


def _check_path_without_header(path: Path) -> None:
    if path.is_dir():
        raise ReadError(
            "directory", f"{path} is a folder. Give the path of a recording in it."
        )
    if path.is_file():
        raise ReadError(
            "unknown_format",
            f"{path} has a format that cannot be read. There are readers for "
            f"{', '.join(recording_suffixes())}.",
        )
