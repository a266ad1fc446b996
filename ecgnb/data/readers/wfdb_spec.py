"""What a WFDB header says: `Header`, one `SignalSpec` a signal, one `Segment` a part of a long record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One signal line of a header.

    Attributes:
        file: name of the signal file, beside the header.
        format: storage format (``16``, ``212``, ...).
        samples_per_frame: samples of this signal for each one of the record's.
        skew: samples by which this signal is late.
        byte_offset: bytes in the file before the first sample.
        gain: ADC units in one physical unit.
        baseline: ADC value of zero physical units.
        units: physical unit.
        resolution: bits of the ADC; 0 unknown.
        adc_zero: ADC value in the middle of its range.
        initial: first sample, as the header has it; often wrong.
        checksum: 16-bit sum of all samples, as the header has it; often wrong.
        lead: description, as written.
    """

    file: str
    format: int
    samples_per_frame: int
    skew: int
    byte_offset: int
    gain: float
    baseline: int
    units: str
    resolution: int
    adc_zero: int
    initial: int
    checksum: int
    lead: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a multi-segment header: a record name (``"~"`` for a gap) and its length in samples."""

    name: str
    n_samples: int


@dataclass(frozen=True, slots=True)
class Header:
    """A WFDB header.

    Attributes:
        record_name: name in the header, without an extension.
        n_leads: number of signals.
        fs: samples a second in Hz.
        n_samples: samples a signal; None where the header leaves it to the size of the file.
        start_time: time and date as written.
        signals: the signal lines; empty for a multi-segment record.
        segments: the segment lines; empty for a record of one segment.
        comments: comment lines without their ``#``.
        flags: ``header_repaired`` and ``default_gain`` where they apply.
    """

    record_name: str
    n_leads: int
    fs: float
    n_samples: int | None
    start_time: str
    signals: tuple[SignalSpec, ...]
    segments: tuple[Segment, ...]
    comments: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def leads(self) -> tuple[str, ...]:
        """Descriptions of the signals, as written."""
        return tuple([signal.lead for signal in self.signals])

    @property
    def gains(self) -> tuple[float, ...]:
        """ADC units a physical unit, one a signal."""
        return tuple([signal.gain for signal in self.signals])

    @property
    def baselines(self) -> tuple[int, ...]:
        """ADC values of zero, one a signal."""
        return tuple([signal.baseline for signal in self.signals])

    @property
    def units(self) -> tuple[str, ...]:
        """Physical units, one a signal."""
        return tuple([signal.units for signal in self.signals])

    @property
    def formats(self) -> tuple[int, ...]:
        """Storage formats, one a signal."""
        return tuple([signal.format for signal in self.signals])

    @property
    def files(self) -> tuple[str, ...]:
        """Signal files, each once, in the order of their first signal."""
        return tuple(dict.fromkeys([signal.file for signal in self.signals]))
