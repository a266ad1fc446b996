from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ecgnb.core.errors import ReadError
from ecgnb.data.readers.numpy_arrays import array_to_mv, orient
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.signal.leads import STANDARD_12

HERE = Path("a.npy")
SIGNAL = np.random.default_rng(0).normal(0, 0.5, (12, 400))


def refusal(path, **words) -> str:
    with pytest.raises(ReadError) as caught:
        read_recording(path, **words)
    return caught.value.reason


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f4", "i2", ">i4"])
def test_npy(dtype, turned, tmp_path):
    stored = (SIGNAL * 100).astype(dtype)
    np.save(tmp_path / "a.npy", stored.T if turned else stored)
    recording = read_recording(tmp_path / "a.npy", fs=500, units="uV")
    assert (recording.leads, recording.flags[0]) == (STANDARD_12, "leads_assumed")
    np.testing.assert_array_equal(
        recording.signal, (stored.astype(float) / 1000).astype(np.float32)
    )
    window = read_recording(
        tmp_path / "a.npy", fs=500, units="uV", start=50, n_samples=100
    ).signal
    np.testing.assert_array_equal(window, recording.signal[:, 50:150])


def test_npz_states_everything(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        signal=SIGNAL[:3].T,
        fs=360,
        leads=["i", "ii", "V9"],
        units="uV",
    )
    recording = read_recording(tmp_path / "a.npz")
    assert (recording.fs, recording.leads, recording.record_id) == (
        360.0,
        ("I", "II", "V9"),
        "a",
    )
    np.testing.assert_array_equal(
        recording.signal, (SIGNAL[:3] / 1000).astype(np.float32)
    )


def test_npz_with_other_names(tmp_path):
    np.savez_compressed(
        tmp_path / "a.npz",
        ecg=SIGNAL[:2],
        sampling_rate=np.array([250]),
        sig_name=["V1", "V2"],
    )
    recording = read_recording(tmp_path / "a.npz")
    assert (recording.fs, recording.leads, recording.flags) == (
        250.0,
        ("V1", "V2"),
        ("units_assumed",),
    )


def test_what_the_file_does_not_say_must_be_passed(tmp_path):
    np.save(tmp_path / "a.npy", SIGNAL[:3])
    assert refusal(tmp_path / "a.npy", leads=["I", "II", "III"]) == "fs"
    assert refusal(tmp_path / "a.npy", fs=500) == "leads"
    assert refusal(tmp_path / "a.npy", fs=500, leads=["I", "II"]) == "leads"
    assert (
        read_recording(tmp_path / "a.npy", fs=500, leads=["I", "II", "III"]).n_leads
        == 3
    )


def test_one_lead(tmp_path):
    np.save(tmp_path / "a.npy", SIGNAL[0])
    assert read_recording(tmp_path / "a.npy", fs=500).leads == ("ECG",)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", signal=np.array([Trap()], dtype=object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npz", "c.npy"):
        assert refusal(tmp_path / name, fs=500) == "pickle"


def test_damaged_files(tmp_path):
    np.save(tmp_path / "a.npy", SIGNAL)
    np.savez(tmp_path / "b.npz", signal=SIGNAL)
    for name in ("a.npy", "b.npz"):
        content = (tmp_path / name).read_bytes()
        for part in (content[: len(content) // 2], content[:3], b"noise" * 50):
            (tmp_path / f"half-{name}").write_bytes(part)
            assert refusal(tmp_path / f"half-{name}", fs=500) == "unreadable"
    (tmp_path / "c.npz").touch()
    assert refusal(tmp_path / "c.npz") == "empty"


def test_an_absurd_shape_reserves_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((12, 10)))
    content = (
        (tmp_path / "a.npy")
        .read_bytes()
        .replace(b"(12, 10), }            ", b"(12, 10000000000000), }")
    )
    assert b"10000000000000" in content
    (tmp_path / "a.npy").write_bytes(content)
    assert refusal(tmp_path / "a.npy", fs=500) == "unreadable"


def test_archives_without_a_recording(tmp_path):
    np.savez(tmp_path / "a.npz", other=SIGNAL)
    assert refusal(tmp_path / "a.npz") == "unknown_format"
    np.savez(tmp_path / "b.npz", signal=SIGNAL, fs="fast")
    assert refusal(tmp_path / "b.npz") == "fs"
    np.savez(tmp_path / "c.npz", signal=np.zeros((2, 3, 4)), fs=500)
    assert refusal(tmp_path / "c.npz") == "shape"


@pytest.mark.parametrize(
    ("shape", "leads", "rows"),
    [
        ((12, 5000), None, 12), ((5000, 12), None, 12), ((5000, 1), None, 1), ((1, 5000), None, 1), ((100,), None, 1),
        ((2, 300), ("I", "II"), 2), ((300, 2), ("I", "II"), 2), ((12, 12), None, 12), ((8, 300), None, 8),
        ((1, 12), None, 12), ((12, 1), None, 12), ((2, 2), ("I", "II"), 2), ((12, 2), ("I", "II"), 2),
    ],
)  # fmt: skip
def test_the_axis_of_the_leads(shape, leads, rows):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    oriented = orient(values, leads, HERE)
    assert len(oriented) == rows
    assert oriented.size == values.size


def test_square_arrays_are_taken_as_they_are():
    values = np.arange(144).reshape(12, 12)
    np.testing.assert_array_equal(orient(values, None, HERE), values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 3, 4)), "shape"), (np.array(3.0), "shape"), (np.zeros((12, 0)), "empty"),
        (np.array(["a"]), "text"), (np.array([1j]), "text"), (np.array([True]), "text"),
    ],
)  # fmt: skip
def test_what_is_no_recording(values, reason):
    with pytest.raises(ReadError) as caught:
        orient(values, None, HERE)
    assert caught.value.reason == reason


def test_units():
    values = np.array([[1, 2, 3000]], dtype=np.int16)
    np.testing.assert_array_equal(
        array_to_mv(values, "mV", HERE), values.astype(np.float32)
    )
    np.testing.assert_array_equal(
        array_to_mv(values, "uV", HERE), (values / 1000).astype(np.float32)
    )
    np.testing.assert_array_equal(
        array_to_mv(values, "V", HERE), (values * 1000.0).astype(np.float32)
    )


def test_the_result_is_contiguous_and_a_copy():
    values = np.zeros((50, 2), np.float32)
    oriented = array_to_mv(values.T, "mV", HERE)
    assert oriented.flags.c_contiguous
    assert not np.shares_memory(oriented, values)
