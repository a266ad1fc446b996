from __future__ import annotations

import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.wfdb_header import (
    decode,
    header_path,
    parse_header,
    read_header,
)

PTBXL = """00001_lr 12 100 1000
00001_lr.dat 16 1000.0(0)/mV 16 0 -119 1508 0 I
00001_lr.dat 16 1000.0(0)/mV 16 0 -55 723 0 II
""".replace(" 12 ", " 2 ")

REAL = [
    PTBXL,
    "E00009.mat 1 500 5000 05-May-2020 14:50:55\nE00009.mat 16+24 4880/mV 16 0 -58 32720 0 I\n#Age: 76\n#Dx: \n",
    "s0010_re 2 1000 38400\r\ns0010_re.dat 16 2000 16 0 -489 -8337 0 i\r\ns0010_re.xyz 16 2000 16 0 -3 -13009 0 vx\r\n"
    "\r\n# age: 81\r\n",
    "100 2 360 650000\r\n100.dat 212 200 11 1024 995 -22131 0 MLII\r\n100.dat 212 200 11 1024 1011 20052 0 V5\r\n",
    "A00109 1 300 9000 08:03:08 1/03/2000 \r\nA00109.mat 16+24 1000/mV 16 0 6 0 0 ECG \r\n",
    "data_8_4 1 200 8235\ndata_8_4.dat 16 38777.46675997201(-199006)/mV 16 0 -8918 24065 0 I\n# persistent\n",
    "m/3 2 250 30\nm_layout 0\nm_1 10\n~ 20\n",
]


def one(line: str):
    return parse_header(f"r 1 500 10\n{line}").signals[0]


def test_a_header_in_full():
    header = parse_header(PTBXL + "# Age: 70\n#Dx:\n")
    assert (header.record_name, header.n_leads, header.fs, header.n_samples) == (
        "00001_lr",
        2,
        100.0,
        1000,
    )
    assert header.leads == ("I", "II")
    assert [signal.gain for signal in header.signals] == [1000.0, 1000.0]
    assert [signal.baseline for signal in header.signals] == [0, 0]
    assert [signal.units for signal in header.signals] == ["mV", "mV"]
    assert [signal.format for signal in header.signals] == [16, 16]
    assert header.files == ("00001_lr.dat",)
    assert header.comments == ("Age: 70", "Dx:")
    assert header.flags == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.dat 16", (16, 1, 0, 0, 200.0, 0, "mV", "")),
        ("a.dat 16 0 16 0 0 0 0 II", (16, 1, 0, 0, 200.0, 0, "mV", "II")),
        (
            "a.dat 212 200 11 1024 995 -22131 0 MLII",
            (212, 1, 0, 0, 200.0, 1024, "mV", "MLII"),
        ),
        (
            "a.dat 212 200(5)/uV 11 1024 995 -22131 0 MLII",
            (212, 1, 0, 0, 200.0, 5, "uV", "MLII"),
        ),
        ("a.dat 16x4:2+24 1e3/mV", (16, 4, 2, 24, 1000.0, 0, "mV", "")),
        (
            "a.dat 16+24 -1000(-7)/mV 16 3 0 0 0 lead II of two",
            (16, 1, 0, 24, -1000.0, -7, "mV", "lead II of two"),
        ),
        ("a.dat 80 .5/V", (80, 1, 0, 0, 0.5, 0, "V", "")),
        ("a.dat\t16\t200/mV\t16\t0\t1\t2\t0\tI", (16, 1, 0, 0, 200.0, 0, "mV", "I")),
        ("a.dat 16 200/mV 16 V1", (16, 1, 0, 0, 200.0, 0, "mV", "V1")),
        ("a.dat 16 306(3)/mmHg 12 0 1 2 0 ABP", (16, 1, 0, 0, 306.0, 3, "mmHg", "ABP")),
        ("a.dat 16 200.5/mV 19-3 0 0 0 II", (16, 1, 0, 0, 200.5, -3, "mV", "II")),
        ("a.dat 16 200.5/mV 16 7", (16, 1, 0, 0, 200.5, 7, "mV", "")),
        ("a.dat 16 2.5e+02(1)/mV", (16, 1, 0, 0, 250.0, 1, "mV", "")),
    ],
)
def test_signal_lines(line, expected):
    found = one(line)
    assert expected == (
        found.format, found.samples_per_frame, found.skew, found.byte_offset,
        found.gain, found.baseline, found.units, found.lead,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("r 0", ("r", 250.0, None)),
        ("r 0 360", ("r", 360.0, None)),
        ("r 0 360/360(0) 100", ("r", 360.0, 100)),
        ("r 0 128.5 77 12:00:00 1/2/1990", ("r", 128.5, 77)),
        ("r 0 500 0", ("r", 500.0, None)),
        ("r 0 500 5000.0", ("r", 500.0, 5000)),
        ("  r   0\t500   10  ", ("r", 500.0, 10)),
    ],
)
def test_record_lines(line, expected):
    header = parse_header(line)
    assert (header.record_name, header.fs, header.n_samples) == expected


def test_what_is_certain_is_repaired_and_flagged():
    header = parse_header(REAL[1])
    assert header.record_name == "E00009"
    assert header.flags == ("header_repaired",)
    assert header.n_samples == 5000
    assert header.comments == ("Age: 76", "Dx:")
    assert parse_header("r 1 500 10\nr.dat 16 200(0.0)/mV 16 0 0 0 0 I").flags == (
        "header_repaired",
    )


def test_a_missing_or_zero_gain_is_flagged():
    assert parse_header("r 1 500 10\nr.dat 16").flags == ("default_gain",)
    assert parse_header("r 1 500 10\nr.dat 16 0/mV 16 0 0 0 0 I").flags == (
        "default_gain",
    )


def test_layout_of_the_text_does_not_matter():
    plain = parse_header(PTBXL + "# Age: 70")
    messy = "\ufeff\n\n" + PTBXL.replace("\n", "  \r\n\r\n") + "\t# Age: 70  \r\n\n"
    assert parse_header(messy) == plain
    assert parse_header(PTBXL.replace("\n", "\r") + "# Age: 70") == plain


def test_latin_1_comments_and_micro_signs(write_record):
    path = write_record(
        "r1 1 500 10\nr1.dat 16 1/µV 16 0 0 0 0 I\n# Kammertachykardie, möglich\n".encode(
            "latin-1"
        )
    )
    header = read_header(path)
    assert header.signals[0].units == "µV"
    assert header.comments == ("Kammertachykardie, möglich",)
    assert decode("\ufeffµ".encode()) == "µ"


def test_segments():
    header = parse_header(REAL[-1])
    assert [(s.name, s.n_samples) for s in header.segments] == [
        ("m_layout", 0),
        ("m_1", 10),
        ("~", 20),
    ]
    assert header.signals == ()
    assert (header.n_leads, header.n_samples) == (2, 30)


@pytest.mark.parametrize(
    "text",
    [
        "", "   \n\n", "# only a comment", "r", "r x", "r 1 abc\nr.dat 16", "r 1 500 x\nr.dat 16",
        "r 2 500 10\nr.dat 16", "r 1 500 10\nr.dat 16\nr.dat 16", "r 1 500 10\nr.dat",
        "r 1 500 10\nr.dat x", "r 1 500 10\nr.dat 16x0",
        "r 1 500 10\nr.dat 16 gain", "r 1 500 10\nr.dat 16 1e999/mV", "r 1 500 10\nr.dat 16 1e-200/mV",
        "r 1 500 10\nr.dat 16 200(99999999999999999999)/mV", "r 1 inf 10\nr.dat 16", "r 1 -500 10\nr.dat 16",
        "r 1 500 10\nr.dat 16 200/mV 16 " + "9" * 40 + " 0 0 0 I", "r/1 1 500 10\nseg", "r/2 1 500 10\nseg 10",
        "r/x 1 500", "r 1.0 500 10\nr.dat 16", "r 1 500 10\nr.dat 16 200/:V", "r 1 500 " + "9" * 5000, "\0\0\0 \0",
    ],
)  # fmt: skip
def test_malformed_text_is_refused_with_the_reason_header(text):
    with pytest.raises(ReadError) as caught:
        parse_header(text)
    assert caught.value.reason == "header"


def test_header_paths(tmp_path):
    (tmp_path / "s1.hea").touch()
    (tmp_path / "v1.2.hea").touch()
    for name in ("s1", "s1.hea", "s1.dat", "s1.mat", "s1.xyz"):
        assert header_path(tmp_path / name) == tmp_path / "s1.hea"
    assert header_path(str(tmp_path / "v1.2")) == tmp_path / "v1.2.hea"


def test_files_that_are_no_header(tmp_path):
    (tmp_path / "empty.hea").touch()
    (tmp_path / "folder.hea").mkdir()
    for name, reason in (
        ("empty", "empty"),
        ("nothing", "missing_file"),
        ("folder", "directory"),
    ):
        with pytest.raises(ReadError, match=name) as caught:
            read_header(tmp_path / name)
        assert caught.value.reason == reason


def test_an_error_names_the_file(write_record):
    with pytest.raises(ReadError, match=r"r1\.hea: The record line") as caught:
        read_header(write_record("nonsense"))
    assert caught.value.reason == "header"


@pytest.mark.parametrize("text", [REAL[0], *REAL[2:6]])
def test_equal_to_the_wfdb_package(text, write_record):
    ours = read_header(write_record(text))
    theirs = wfdb.rdheader(str(write_record(text).with_suffix("")))
    assert (ours.record_name, ours.n_leads, ours.fs, ours.n_samples) == (
        theirs.record_name, theirs.n_sig, theirs.fs, theirs.sig_len,
    )  # fmt: skip
    assert list(ours.leads) == theirs.sig_name
    assert [signal.gain for signal in ours.signals] == theirs.adc_gain
    assert [signal.baseline for signal in ours.signals] == theirs.baseline
    assert [signal.units for signal in ours.signals] == theirs.units
    assert [str(signal.format) for signal in ours.signals] == theirs.fmt
    assert [s.byte_offset for s in ours.signals] == [
        offset or 0 for offset in theirs.byte_offset
    ]
    assert list(ours.comments) == theirs.comments


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 12)))
        insert = draw(
            st.one_of(
                st.text(max_size=6),
                st.sampled_from([" ", "\n", "(", ")/", "-", "9" * 30, "e9", "\0"]),
            )
        )
        text = text[:start] + insert + text[stop:]
    return text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=300), mutated()))
def test_whatever_the_text_only_a_read_error_comes_out(text):
    try:
        header = parse_header(text)
    except ReadError as error:
        assert error.reason == "header"
    else:
        assert (
            len(header.segments or header.signals) >= header.n_leads or header.segments
        )
