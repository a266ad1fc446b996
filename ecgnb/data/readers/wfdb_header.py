"""WFDB headers (`.hea`), read without the `wfdb` package, which spends most of its time
on them.

The format: https://physionet.org/physiotools/wag/header-5.htm. Where the `wfdb` package
reads a header, this file reads the same; where the package refuses one whose meaning is
certain, it is read with the flag ``header_repaired``.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.base import explained_os_errors


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
    """One line of a multi-segment header: a record name (``"~"`` for a gap) and its
    length in samples.
    """

    name: str
    n_samples: int


@dataclass(frozen=True, slots=True)
class Header:
    """A WFDB header.

    Attributes:
        record_name: name in the header, without an extension.
        n_leads: number of signals.
        fs: samples a second in Hz.
        n_samples: samples a signal; None where the header leaves it to the size of the
            file.
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


#: Sampling rate of a header that states none.
DEFAULT_FS = 250.0
#: Gain, in ADC units a physical unit, of a header that states none or zero; the signal
#: is then uncalibrated.
DEFAULT_GAIN = 200.0
DEFAULT_UNITS = "mV"

_MAX_HEADER_BYTES = 1 << 24
_GAIN_LIMITS = (1e-15, 1e15)  # wider than any instrument; beyond them float32 overflows
_MAX_BASELINE = 2**53  # float64 holds every whole number up to here

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
    """Return the path of the header that belongs to ``path``: a header, a signal file,
    or a name without extension.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".hea":
        return path
    if suffix in (".dat", ".mat"):
        return path.with_suffix(".hea")
    beside = path.with_name(path.name + ".hea")
    if suffix and not beside.is_file() and (own := path.with_suffix(".hea")).is_file():
        return own  # a signal file with a suffix of its own, such as the .xyz of PTB
    return beside


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
    """Decode text that ought to be UTF-8 and sometimes is Latin-1."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_header(text: str) -> Header:
    r"""Read the text of a WFDB header.

    Raises:
        ReadError: ``header``, for whatever is wrong with it.

    >>> header = parse_header("a1 1 500 5000\na1.dat 16 1000(0)/mV 16 0 -5 0 0 II\n# Age: 70")
    >>> header.leads, header.gains, header.comments
    (('II',), (1000.0,), ('Age: 70',))
    """
    if "\r" in text:
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
    doubts: set[str] = set()
    name, n_segments, n_leads, fs, n_samples, start_time = _record_line(
        lines[0], doubts
    )
    del lines[0]
    expected, what = (n_segments, "segment") if n_segments else (n_leads, "signal")
    if len(lines) != expected:
        raise ReadError(
            "header",
            f"The record line announces {expected} {what}s, {len(lines)} {what} lines follow.",
        )
    signals = (
        () if n_segments else tuple([_signal_line(line, doubts) for line in lines])
    )
    segments = tuple([_segment_line(line) for line in lines]) if n_segments else ()
    flags = tuple(sorted(doubts)) if doubts else ()
    return Header(
        name,
        n_leads,
        fs,
        n_samples,
        start_time,
        signals,
        segments,
        tuple(comments),
        flags,
    )


def _record_line(
    line: str, doubts: set[str]
) -> tuple[str, int, int, float, int | None, str]:
    """Read ``name[/segments] n_leads [fs [n_samples [time [date]]]]``."""
    fields = line.split(None, 4)
    if len(fields) < 2:
        raise ReadError(
            "header",
            f"The record line {line[:80]!r} does not say how many signals there are.",
        )
    name, slash, segments = fields[0].partition("/")
    if not _NAME.fullmatch(name):
        name = name.removesuffix(".mat").removesuffix(".dat").removesuffix(".hea")
        doubts.add("header_repaired")
    n_segments = _count(segments, doubts, line) if slash else 0
    if "." in fields[1]:  # a dot could also begin the next field
        raise ReadError(
            "header",
            f"{fields[1][:40]!r} in {line[:80]!r} should be the number of signals.",
        )
    n_leads = _count(fields[1], doubts, line)
    fs = _frequency(fields[2], line) if len(fields) > 2 else DEFAULT_FS
    n_samples = _count(fields[3], doubts, line) if len(fields) > 3 else 0
    # Zero samples mean the same as none stated.
    return (
        name,
        n_segments,
        n_leads,
        fs,
        n_samples or None,
        fields[4] if len(fields) > 4 else "",
    )


def _count(text: str, doubts: set[str], line: str) -> int:
    """Read a whole number, also one written as ``5000.0``."""
    found = _COUNT.fullmatch(text)
    if not found:
        raise ReadError(
            "header", f"{text[:40]!r} in {line[:80]!r} should be a whole number."
        )
    if found[2] is not None:
        doubts.add("header_repaired")
    return int(found[1])


def _frequency(text: str, line: str) -> float:
    found = _FREQUENCY.fullmatch(text)
    fs = float(found[1]) if found else math.nan
    if not math.isfinite(fs) or fs < 0:
        raise ReadError(
            "header", f"{text[:40]!r} in {line[:80]!r} should be a sampling rate."
        )
    return fs


def _signal_line(line: str, doubts: set[str]) -> SignalSpec:
    """Read ``file format [gain [resolution [zero [initial [checksum [block
    [description]]]]]]]``.
    """
    fields = line.split(None, 3)
    if len(fields) < 2:
        raise ReadError("header", f"The signal line {line[:80]!r} has no format.")
    form, samples_per_frame, skew, offset = _format_field(fields[1])
    gain, baseline, units, repaired = _gain_field(fields[2] if len(fields) > 2 else "")
    if repaired:
        doubts.add("header_repaired")
    if gain == 0:
        gain = DEFAULT_GAIN
        doubts.add("default_gain")
    numbers, lead = _numbers_and_lead(fields[3] if len(fields) > 3 else "")
    if baseline is None:
        baseline = numbers[1]
        if abs(baseline) > _MAX_BASELINE:
            raise ReadError(
                "header", f"The ADC zero {baseline} in {line[:80]!r} cannot be true."
            )
    resolution, adc_zero, initial, checksum, _ = numbers
    return SignalSpec(
        fields[0], form, samples_per_frame, skew, offset, gain, baseline, units,
        resolution, adc_zero, initial, checksum, lead,
    )  # fmt: skip


def _numbers_and_lead(text: str) -> tuple[list[int], str]:
    """Read up to five whole numbers and the description behind them; missing numbers
    are 0.
    """
    fields = text.split(None, 5)
    if len(fields) == 6:
        try:
            numbers = [int(field) for field in fields[:5]]
        except ValueError:
            pass
        else:
            if (
                numbers[0] >= 0 and "+" not in text and "_" not in text
            ):  # which int() takes, but WFDB does not
                return numbers, fields[5]
    *found, lead = _NUMBERS.fullmatch(text).groups()  # type: ignore[union-attr]  # matches any text
    return [int(number) if number.strip("-") else 0 for number in found], lead


def _cached(function: Callable[[str], T]) -> Callable[[str], T]:
    """Remember answers: the same few fields stand in every line of every header of a
    data set.
    """
    return functools.lru_cache(maxsize=4096)(function)


@_cached
def _format_field(text: str) -> tuple[int, int, int, int]:
    """Read ``format[xsamples_per_frame][:skew][+byte_offset]``."""
    found = _FORMAT.fullmatch(text)
    if not found or (found[2] and int(found[2]) == 0):
        raise ReadError(
            "header", f"{text[:40]!r} should be a storage format such as 16 or 16+24."
        )
    form, samples_per_frame, skew, offset = found.groups()
    return int(form), int(samples_per_frame or 1), int(skew or 0), int(offset or 0)


@_cached
def _gain_field(text: str) -> tuple[float, int | None, str, bool]:
    """Read ``gain[(baseline)][/units]``; the last value says whether it had to be
    repaired. A missing gain is 0.
    """
    if not text:
        return 0.0, None, DEFAULT_UNITS, False
    found = _GAIN.fullmatch(text)
    if not found:
        raise ReadError("header", f"{text[:40]!r} should be a gain such as 1000(0)/mV.")
    gain = float(found[1])
    baseline = int(found[2]) if found[2] else None
    if (gain != 0 and not _GAIN_LIMITS[0] <= abs(gain) <= _GAIN_LIMITS[1]) or abs(
        baseline or 0
    ) > _MAX_BASELINE:
        raise ReadError(
            "header", f"The gain or baseline in {text[:40]!r} cannot be true."
        )
    return gain, baseline, found[4] or DEFAULT_UNITS, found[3] is not None


def _segment_line(line: str) -> Segment:
    fields = line.split()
    if len(fields) < 2 or not (found := _COUNT.fullmatch(fields[1])):
        raise ReadError(
            "header", f"The segment line {line[:80]!r} should be a name and a length."
        )
    return Segment(fields[0], int(found[1]))


#: Ages above this are codes (PTB-XL writes 300 for "over 89"), not ages.
MAX_AGE = 130.0

_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}
_PATIENT = (
    "patient id",
    "patient_id",
    "patientid",
    "patient",
    "patient number",
    "subject id",
)
_MIT_BIH = re.compile(r"^(\d{1,3}) ([MF])\b")  # "69 M 1085 1629 x1" in MIT-BIH headers


def parse_comments(comments: Sequence[str]) -> dict[str, Any]:
    """Read header comments such as ``"Age: 77"``, ``"<sex>: F"`` or ``"Dx:
    426783006,164865005"``.

    Args:
        comments: comment lines without their leading ``#``.

    Returns:
        ``age`` in years or None, ``sex`` ``"male"``, ``"female"`` or ``""``, ``dx``
        list of codes, ``patient_id``, ``fields`` (every ``key: value`` line, keys in
        lower case, the first of equal keys), ``comments`` as they were.

    >>> parse_comments(["Age: 77", "Dx: ", "Rx: Unknown"])["dx"]
    []
    """
    fields: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            fields.setdefault(key.strip(" \t<>").lower(), value.strip())
    age, sex = (
        parse_age(fields.get("age", "")),
        _SEX.get(fields.get("sex", "").lower(), ""),
    )
    if comments and "age" not in fields and (found := _MIT_BIH.match(comments[0])):
        age, sex = parse_age(found[1]), _SEX[found[2].lower()]
    codes = fields.get("dx", "").split(",")
    return {
        "age": age,
        "sex": sex,
        "dx": [code.strip() for code in codes if code.strip()],
        "patient_id": next((fields[key] for key in _PATIENT if fields.get(key)), ""),
        "fields": fields,
        "comments": list(comments),
    }


def parse_age(text: str) -> float | None:
    """Return an age in years, or None for what is not one (``"NaN"``, ``"Unknown"``,
    negative, above `MAX_AGE`).
    """
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= MAX_AGE else None
