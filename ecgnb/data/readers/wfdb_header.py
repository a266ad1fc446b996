"""Parser of WFDB headers (`.hea`), about 20 times faster than the `wfdb` package.

The format: https://physionet.org/physiotools/wag/header-5.htm. Headers that the `wfdb`
package reads are read equally; headers that it refuses although their meaning is
certain are read with the flag ``header_repaired``.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import explained_os_errors


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One signal line of a header.

    Attributes:
        file: name of the signal file, beside the header.
        format: storage format (``16``, ``212``, ...).
        samples_per_frame: samples of this signal per sample of the record.
        skew: samples by which this signal is late.
        byte_offset: bytes in the file before the first sample.
        gain: ADC units per physical unit.
        baseline: ADC value of zero physical units.
        units: physical unit.
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
    lead: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment line of a header: a record name, ``"~"`` for a gap, and a length."""

    name: str
    n_samples: int


@dataclass(frozen=True, slots=True)
class Header:
    """A WFDB header.

    Attributes:
        record_name: name in the header, without an extension.
        n_leads: number of signals.
        fs: sampling rate in Hz.
        n_samples: samples per signal; None where only the size of the file states it.
        signals: the signal lines; empty for a multi-segment record.
        segments: the segment lines; empty for a record of one segment.
        comments: comment lines without their ``#``.
        flags: ``header_repaired`` and ``default_gain`` where they apply.
    """

    record_name: str
    n_leads: int
    fs: float
    n_samples: int | None
    signals: tuple[SignalSpec, ...]
    segments: tuple[Segment, ...]
    comments: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def leads(self) -> tuple[str, ...]:
        """Descriptions of the signals, as written."""
        return tuple([signal.lead for signal in self.signals])

    @property
    def files(self) -> tuple[str, ...]:
        """Distinct signal files, in the order of their first signal."""
        return tuple(dict.fromkeys([signal.file for signal in self.signals]))


#: Sampling rate in Hz of a header that states none.
DEFAULT_FS = 250.0
#: ADC units per physical unit of a header that states none or zero; such a signal is
#: not calibrated.
DEFAULT_GAIN = 200.0
DEFAULT_UNITS = "mV"
#: Extensions of signal files beside a header.
SIGNAL_SUFFIXES = (".dat", ".mat")

_MAX_HEADER_BYTES = 1 << 24
_GAIN_LIMITS = (1e-15, 1e15)  # wider than any instrument; beyond them float32 overflows
_MAX_BASELINE = 2**53  # float64 holds every integer up to here

_NAME = re.compile(r"[-\w]+")
_FORMAT = re.compile(r"(\d{1,9})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,18}))?")
_FLOAT = r"-?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][+-]?\d{1,4})?"
_GAIN = re.compile(
    rf"({_FLOAT})(?:\((-?\d{{1,18}})(\.0*)?\))?(?:/?([^\W\d][\w^?%/.*-]*|[?%]))?/?"
)
_FREQUENCY = re.compile(rf"({_FLOAT})(?:/.*)?")
_COUNT = re.compile(r"(\d{1,18})(\.0*)?")
_NUMBERS = re.compile(
    r"(\d{0,18})[ \t]*" + r"(-?\d{0,18})[ \t]*" * 3 + r"(\d{0,18})[ \t]*(.*)", re.DOTALL
)

T = TypeVar("T")


def header_path(path: str | Path) -> Path:
    """Return the header that belongs to ``path``: a header, a signal file, or a record
    name without extension.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".hea":
        return path
    replaced = path.with_suffix(".hea") if suffix else path
    if suffix in SIGNAL_SUFFIXES:
        return replaced
    appended = path.with_name(path.name + ".hea")
    if suffix and not appended.is_file() and replaced.is_file():
        return replaced  # a signal file with another extension, such as PTB's .xyz
    return appended


def read_header(path: str | Path) -> Header:
    """Read the header of a WFDB record.

    Args:
        path: the header, one of its signal files, or the record's name without an
            extension.

    Raises:
        ReadError: ``missing_file``, ``permission``, ``directory``, ``empty`` or
            ``header``.
    """
    path = header_path(path)
    with explained_os_errors(path), open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > _MAX_HEADER_BYTES:
            raise ReadError(
                "header", f"{path} is longer than any header. Check that it is one."
            )
        content = file.read()
    if not content.strip():
        raise ReadError("empty", f"The header {path} is empty. Fetch it again.")
    try:
        return parse_header(decode(content))
    except ReadError as error:
        raise ReadError(error.reason, f"{path}: {error}") from error


def decode(content: bytes) -> str:
    """Decode text that should be UTF-8 and sometimes is Latin-1."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_header(text: str) -> Header:
    r"""Parse the text of a WFDB header.

    Raises:
        ReadError: ``header``, for anything that is wrong with it.

    >>> line = "a1.dat 16 1000(0)/mV 16 0 -5 0 0 II"
    >>> header = parse_header(f"a1 1 500 5000\n{line}\n# Age: 70")
    >>> header.leads, header.comments
    (('II',), ('Age: 70',))
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines: list[str] = []
    comments: list[str] = []
    for line in text.lstrip("\ufeff").split("\n"):
        line = line.strip()
        if line.startswith("#"):
            comments.append(line.strip(" \t#"))
        elif line:
            lines.append(line)
    if not lines:
        raise ReadError("header", "There is no record line. Fetch the header again.")
    flags: set[str] = set()
    record_line = _record_line(lines.pop(0), flags)
    name, n_segments, n_leads, fs, n_samples = record_line
    expected, kind = (n_segments, "segment") if n_segments else (n_leads, "signal")
    if len(lines) != expected:
        raise ReadError(
            "header",
            f"The record line announces {expected} {kind}s, "
            f"{len(lines)} {kind} lines follow.",
        )
    segments: tuple[Segment, ...] = ()
    signals: tuple[SignalSpec, ...] = ()
    if n_segments:
        segments = tuple(map(_segment_line, lines))
    else:
        signals = tuple([_signal_line(line, flags) for line in lines])
    return Header(
        record_name=name,
        n_leads=n_leads,
        fs=fs,
        n_samples=n_samples,
        signals=signals,
        segments=segments,
        comments=tuple(comments),
        flags=tuple(sorted(flags)),
    )


def _record_line(line: str, flags: set[str]) -> tuple[str, int, int, float, int | None]:
    """Parse ``name[/segments] n_leads [fs [n_samples [time [date]]]]``."""
    fields = line.split(None, 4)
    if len(fields) < 2:
        raise ReadError(
            "header",
            f"The record line {line[:80]!r} does not state the number of signals.",
        )
    first, leads, frequency, samples, *_ = *fields, "", ""
    name, slash, segments = first.partition("/")
    if not _NAME.fullmatch(name):
        name = name.removesuffix(".mat").removesuffix(".dat").removesuffix(".hea")
        flags.add("header_repaired")
    n_segments = _count(segments, flags, line) if slash else 0
    if "." in leads:  # a dot could also begin the next field
        raise _unexpected(leads, line, "the number of signals")
    n_leads = _count(leads, flags, line)
    fs = _frequency(frequency, line) if frequency else DEFAULT_FS
    n_samples = _count(samples, flags, line) if samples else 0
    # 0 samples and no number of samples mean the same
    return name, n_segments, n_leads, fs, n_samples or None


def _count(text: str, flags: set[str], line: str) -> int:
    """Parse an integer, also one written as ``5000.0``."""
    match = _COUNT.fullmatch(text)
    if not match:
        raise _unexpected(text, line, "an integer")
    if match[2] is not None:
        flags.add("header_repaired")
    return int(match[1])


def _frequency(text: str, line: str) -> float:
    match = _FREQUENCY.fullmatch(text)
    fs = float(match[1]) if match else math.nan
    if not math.isfinite(fs) or fs < 0:
        raise _unexpected(text, line, "a sampling rate")
    return fs


def _unexpected(text: str, line: str, expected: str) -> ReadError:
    return ReadError("header", f"{text[:40]!r} in {line[:80]!r} should be {expected}.")


def _signal_line(line: str, flags: set[str]) -> SignalSpec:
    """Parse a signal line.

    Its fields: ``file format [gain [resolution [zero [initial [checksum [block
    [description]]]]]]]``.
    """
    fields = line.split(None, 3)
    if len(fields) < 2:
        raise ReadError("header", f"The signal line {line[:80]!r} has no format.")
    file, form, gain_text, rest, *_ = *fields, "", ""
    storage_format, samples_per_frame, skew, offset = _format_field(form)
    gain, baseline, units, repaired = _gain_field(gain_text)
    if repaired:
        flags.add("header_repaired")
    if gain == 0:
        gain = DEFAULT_GAIN
        flags.add("default_gain")
    adc_zero, lead = _zero_and_lead(rest)
    if baseline is None:
        baseline = adc_zero
        if abs(baseline) > _MAX_BASELINE:
            raise ReadError(
                "header", f"The ADC zero {baseline} in {line[:80]!r} cannot be true."
            )
    return SignalSpec(
        file,
        storage_format,
        samples_per_frame,
        skew,
        offset,
        gain,
        baseline,
        units,
        lead,
    )


def _zero_and_lead(text: str) -> tuple[int, str]:
    """Parse up to five integers and the description behind them.

    Returns:
        The ADC zero, which is the second integer (0 where missing), and the
        description. First sample and checksum are often wrong, so they are not used.
    """
    fields = text.split(None, 5)
    # int() accepts "+1" and "1_000", WFDB does not
    if len(fields) == 6 and "+" not in text and "_" not in text:
        try:
            numbers = [int(field) for field in fields[:5]]
        except ValueError:
            numbers = [-1]
        if numbers[0] >= 0:
            return numbers[1], fields[5]
    match = _NUMBERS.fullmatch(text)
    zero, lead = match[2], match[6]  # type: ignore[index]  # matches any text
    return int(zero) if zero.strip("-") else 0, lead


def _cached(function: Callable[[str], T]) -> Callable[[str], T]:
    """Cache a parser of one field: a data set repeats few fields in all its headers."""
    return functools.lru_cache(maxsize=4096)(function)


@_cached
def _format_field(text: str) -> tuple[int, int, int, int]:
    """Parse ``format[xsamples_per_frame][:skew][+byte_offset]``."""
    match = _FORMAT.fullmatch(text)
    if not match or (match[2] and int(match[2]) == 0):
        raise ReadError(
            "header", f"{text[:40]!r} should be a storage format such as 16 or 16+24."
        )
    samples_per_frame = int(match[2] or 1)
    skew = int(match[3] or 0)
    byte_offset = int(match[4] or 0)
    return int(match[1]), samples_per_frame, skew, byte_offset


@_cached
def _gain_field(text: str) -> tuple[float, int | None, str, bool]:
    """Parse ``gain[(baseline)][/units]``.

    Returns:
        Gain (0 where missing), baseline, units, and whether the baseline was written
        as ``0.0`` and had to be repaired.
    """
    if not text:
        return 0.0, None, DEFAULT_UNITS, False
    match = _GAIN.fullmatch(text)
    if not match:
        raise ReadError("header", f"{text[:40]!r} should be a gain such as 1000(0)/mV.")
    gain = float(match[1])
    baseline = int(match[2]) if match[2] else None
    smallest, largest = _GAIN_LIMITS
    gain_is_possible = gain == 0 or smallest <= abs(gain) <= largest
    if not gain_is_possible or abs(baseline or 0) > _MAX_BASELINE:
        raise ReadError(
            "header", f"The gain or baseline in {text[:40]!r} cannot be true."
        )
    return gain, baseline, match[4] or DEFAULT_UNITS, match[3] is not None


def _segment_line(line: str) -> Segment:
    name, length, *_ = *line.split(), ""
    match = _COUNT.fullmatch(length)
    if not match:
        raise ReadError(
            "header", f"The segment line {line[:80]!r} should be a name and a length."
        )
    return Segment(name, int(match[1]))
