"""`Recording`: one electrocardiogram in millivolts, with its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Recording:
    """One electrocardiogram.

    Attributes:
        signal: float32 ``[n_leads, n_samples]`` in mV; NaN for samples marked as
            invalid.
        fs: sampling rate in Hz.
        leads: normalised lead names (``"I"``, ``"aVR"``, ``"V1"``), one per row of
            ``signal``.
        record_id: name of the recording within its data set.
        dataset: name of the data set, empty if unknown.
        patient_id: id of the patient, empty if unknown.
        metadata: further content of the file (``age``, ``sex``, ``comments``, ...).
        flags: doubts about this recording (``"implausible_gain"``,
            ``"header_repaired"``, ...).
    """

    signal: np.ndarray
    fs: float
    leads: tuple[str, ...]
    record_id: str
    dataset: str = ""
    patient_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def n_leads(self) -> int:
        """Number of leads."""
        return int(self.signal.shape[0])

    @property
    def n_samples(self) -> int:
        """Number of samples per lead."""
        return int(self.signal.shape[1])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.fs

    def __repr__(self) -> str:
        leads = " ".join(self.leads)
        flags = f", flags={list(self.flags)}" if self.flags else ""
        return (
            f"Recording({self.record_id!r}, {self.duration:.2f} s at {self.fs:g} Hz, "
            f"leads {leads}{flags})"
        )
