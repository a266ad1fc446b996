from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.csv_text import CsvReader, rate_of, sniff_separator
from ecgnb.data.readers.reading import read_recording

HERE = Path("a.csv")
RNG = np.random.default_rng(0)
VALUES = RNG.normal(0, 0.5, (50, 2)).round(4)


@pytest.fixture
def save(tmp_path):
    def write(text: str | bytes, name: str = "p1.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def rows(values=VALUES, separator: str = ",") -> str:
    return (
        "\n".join(separator.join(repr(float(v)) for v in row) for row in values) + "\n"
    )


def refused(path, **words) -> ReadError:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    return caught.value


def test_names_comments_and_numbers(save):
    recording = read_recording(
        save(
            "# fs: 250\n# units: uV\n# Age: 60\n# Patient ID: 7\nlead i,AVR\n" + rows()
        )
    )
    assert (recording.fs, recording.leads, recording.record_id) == (
        250.0,
        ("I", "aVR"),
        "p1",
    )
    assert (recording.patient_id, recording.metadata["age"]) == ("7", 60.0)
    np.testing.assert_array_equal(
        recording.signal, (VALUES.T / 1000).astype(np.float32)
    )
    assert recording.signal.flags.c_contiguous


def test_the_rate_can_be_passed_and_must_be_known(save):
    path = save("I,II\n" + rows())
    assert refused(path).reason == "fs"
    recording = read_recording(path, fs=500)
    assert (recording.fs, recording.flags) == (500.0, ("units_assumed",))
    np.testing.assert_array_equal(recording.signal, VALUES.T.astype(np.float32))
    np.testing.assert_array_equal(
        read_recording(path, fs=500, start=10, n_samples=5).signal,
        recording.signal[:, 10:15],
    )


@pytest.mark.parametrize(
    ("heading", "scale"),
    [
        ("time", 1),
        ("Time (s)", 1),
        ("time_ms", 1000),
        ("t [ms]", 1000),
        ("ms", 1000),
        ("t", 1),
    ],
)
def test_a_column_of_times_gives_the_rate(heading, scale, save):
    table = np.column_stack([np.arange(50) / 500 * scale, VALUES])
    recording = read_recording(save(f"{heading},I (mV),II (mV)\n" + rows(table)))
    assert (recording.fs, recording.leads, recording.flags) == (500.0, ("I", "II"), ())
    np.testing.assert_array_equal(recording.signal, VALUES.T.astype(np.float32))


def test_counters_are_left_out(save):
    table = np.column_stack([np.arange(50), VALUES])
    for heading in ("", "index", "'sample #'", "Unnamed: 0"):
        assert read_recording(
            save(f"{heading},'MLII','V5'\n" + rows(table)), fs=360
        ).leads == ("MLII", "V5")


@pytest.mark.parametrize(
    ("separator", "name"),
    [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), ("\t", "a.txt")],
)
def test_separators(separator, name, save):
    recording = read_recording(
        save(f"I{separator}II\n" + rows(separator=separator), name), fs=500, units="mV"
    )
    np.testing.assert_array_equal(recording.signal, VALUES.T.astype(np.float32))
    assert recording.flags == ()


def test_other_line_ends_quotes_marks_and_encodings(save):
    text = (
        '\ufeff# Größe\r\n"I";"II"\r\n\r\n'
        + rows(separator=";").replace("\n", "\r\n")
        + "\r\n"
    )
    for content in (text.encode(), text[1:].encode("latin-1")):
        np.testing.assert_array_equal(
            read_recording(save(content), fs=500).signal, VALUES.T.astype(np.float32)
        )


def test_units_of_the_headings(save):
    recording = read_recording(save("I (uV),II [µV]\n" + rows(VALUES * 1000)), fs=500)
    np.testing.assert_allclose(recording.signal, VALUES.T, rtol=1e-5)
    assert recording.flags == ()
    recording = read_recording(save("ABP (mmHg),II (mV)\n" + rows()), fs=500)
    assert (recording.leads, recording.flags) == (("II",), ("dropped_signals",))
    assert recording.metadata["dropped"] == ["ABP (mmHg)"]
    np.testing.assert_array_equal(recording.signal, VALUES.T[1:].astype(np.float32))
    assert refused(save("I (uV),II (mV)\n" + rows()), fs=500).reason == "units"
    assert refused(save("# units: mmHg\nI,II\n" + rows()), fs=500).reason == "units"


def test_empty_cells_are_invalid_samples(save):
    recording = read_recording(save("I,II\n1,2\n,4\n5,NaN\n7,n/a\n"), fs=500)
    np.testing.assert_array_equal(
        recording.signal,
        np.array([[1, np.nan, 5, 7], [2, 4, np.nan, np.nan]], np.float32),
    )


def test_text_is_named_by_row_and_column(save):
    error = refused(save("# fs: 500\nI,II\n1,2\n\n3,4\n5,oops\n"))
    assert error.reason == "text"
    assert "'oops' in row 6, column 'II'" in str(error)


def test_ragged_rows_are_named(save):
    for line in ("5", "5,6,7"):
        error = refused(save(f"I,II\n1,2\n{line}\n8,9\n"), fs=500)
        assert error.reason == "text"
        assert "row 3" in str(error)
    assert refused(save("I,II\n1,2,3\n4,5,6\n"), fs=500).reason == "text"


def test_no_row_of_names(save):
    path = save(rows())
    assert refused(path, fs=500).reason == "leads"
    recording = read_recording(path, fs=500, leads=["I", "II"])
    np.testing.assert_array_equal(recording.signal, VALUES.T.astype(np.float32))


def test_files_without_a_recording(save):
    assert refused(save("")).reason == "empty"
    assert refused(save("# fs: 500\n\n")).reason == "empty"
    assert refused(save("I,II\n"), fs=500).reason == "empty"
    assert refused(save("time\n1\n2\n"), fs=500).reason == "leads"


def test_a_gap_in_the_times_is_refused_unless_the_rate_is_given(save):
    times = np.arange(50) / 500
    times[30:] += 3
    path = save("time,I,II\n" + rows(np.column_stack([times, VALUES])))
    assert refused(path).reason == "time"
    assert read_recording(path, fs=500).n_samples == 50


@pytest.mark.parametrize("fs", [100, 128, 250, 257, 360, 400, 500, 1000, 12.5])
@pytest.mark.parametrize("decimals", [3, 6])
def test_seconds_written_with_few_digits(fs, decimals):
    times = (np.arange(10 * int(fs)) / fs).round(decimals)
    assert rate_of(times, "s", HERE) == fs
    assert rate_of(times, "", HERE) == fs
    assert rate_of((times * 1000).round(decimals - 3), "ms", HERE) == fs


def test_milliseconds_without_a_unit():
    assert rate_of(np.arange(500) * 2.0, "time", HERE) == 500
    assert rate_of(np.arange(500) * 2.0 + 1e5, "", HERE) == 500


def test_a_rate_that_is_not_whole_stays():
    assert rate_of(np.arange(1000) / 128.4, "s", HERE) == pytest.approx(128.4)


@pytest.mark.parametrize(
    "times",
    [
        [0.0],
        [0.0, 0.0, 0.0],
        [0.0, 0.002, 0.001],
        [0.0, 0.002, np.nan],
        [0.0, 0.002, np.inf],
    ],
)
def test_times_that_do_not_rise(times):
    with pytest.raises(ReadError, match="do not rise") as caught:
        rate_of(np.array(times), "s", HERE)
    assert caught.value.reason == "time"


def test_a_gap_is_named():
    times = np.arange(1000) / 500
    times[600:] += 1
    with pytest.raises(ReadError, match=r"jump from 1\.198 to 2\.2") as caught:
        rate_of(times, "s", HERE)
    assert caught.value.reason == "time"


@pytest.mark.parametrize(
    ("text", "is_signal"),
    [
        ("I,II\n0.1,0.2\n", True),
        ("# fs: 500\nI;II\n0.1;0.2\n;0.3\n", True),
        ("0.1\t0.2\n0.1\t0.2\n", True),
        ("record,quality\n1002867,acceptable\n", False),
        ("ecg_id,label\n1,0\n", False),
        ("I,II\n", True),
        ("", False),
        ("I,II\n,\n", True),
    ],
)
def test_signal_or_table(tmp_path, text, is_signal):
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert CsvReader().is_recording(path) is is_signal


def test_a_long_signal_is_known_by_its_first_lines(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("I,II\n" + "0.12345,-0.54321\n" * 5000)
    assert CsvReader().is_recording(path)


def test_the_separator_is_the_most_frequent():
    assert [sniff_separator(line) for line in ("I,II", "a;b;c,d", "a\tb", "a")] == [
        ",",
        ";",
        "\t",
        ",",
    ]
