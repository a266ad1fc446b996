"""`Recording`: one electrocardiogram as it was read, in millivolts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Recording:
    """One electrocardiogram.

    Attributes:
        signal: float32 ``[n_leads, n_samples]`` in mV; NaN where the file says that a
            sample is invalid.
        fs: samples a second, in Hz.
        leads: lead names in the house's spelling (``"I"``, ``"aVR"``, ``"V1"``), one a
            row of ``signal``.
        record_id: name of the recording within its data set.
        dataset: name of the data set, empty where unknown.
        patient_id: who was recorded, empty where unknown.
        metadata: what else the file says (``age``, ``sex``, ``comments``, ...).
        flags: what is doubtful about this recording (``"implausible_gain"``,
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
        """Samples a lead."""
        return int(self.signal.shape[1])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.fs

    def __repr__(self) -> str:
        leads = " ".join(self.leads)
        flags = f", flags={list(self.flags)}" if self.flags else ""
        return f"Recording({self.record_id!r}, {self.duration:.2f} s at {self.fs:g} Hz, leads {leads}{flags})"
