from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from pairs import ZOO, golden_pair, zoo_pair

from ecgnb.core.errors import PortError
from ecgnb.port.proof.compare import compare
from ecgnb.port.proof.reference import Reference, Stored, read_reference


def test_reference_reads_a_golden_file(golden_dir) -> None:
    _, golden = golden_pair(golden_dir, "pathology_avb")
    reference = read_reference(golden)
    assert list(reference.inputs) == ["conv1d_input"] and reference.inputs[
        "conv1d_input"
    ].shape == (2, 2000, 12)
    assert "conv1d" in reference.layers and "dropout" not in reference.layers
    conv = reference.layers["conv1d_4"]
    assert (
        conv.shape == (2, 125, 64)
        and conv.values.shape == (2, 25, 64)
        and list(conv.steps[:3]) == [0, 1, 2]
    )
    assert conv.scale == pytest.approx(801, abs=1)
    assert reference.gradients["conv1d_input"].shape == (2, 2000, 12)
    assert not reference.before_sigmoid and reference.source == str(golden)


def test_reference_of_the_zoo_tells_its_gradients() -> None:
    assert read_reference(zoo_pair("net_bilstm_attention")[1]).before_sigmoid


def test_reference_of_an_output_knows_scale_and_mean() -> None:
    stored = Stored.whole(np.array([[1.0, -3.0]], dtype=np.float32))
    assert (stored.scale, stored.mean, stored.shape, stored.steps) == (
        3.0,
        -1.0,
        (1, 2),
        None,
    )


@pytest.mark.parametrize("spoil", ["cut", "text", "empty", "pickle", "missing"])
def test_reference_damaged(spoil, tmp_path) -> None:
    whole = (ZOO / "nested_twice.npz").read_bytes()
    path = tmp_path / "golden.npz"
    if spoil == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif spoil == "text":
        path.write_text("not a golden file")
    elif spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "pickle":
        np.savez(path, **{"in/x": np.array([{"code": 1}], dtype=object)})
    with pytest.raises(
        PortError,
        match="no reference file"
        if spoil == "missing"
        else "truncated, damaged or no .npz",
    ):
        read_reference(path)


def test_reference_with_flipped_bytes(tmp_path) -> None:
    data = bytearray((ZOO / "nested_twice.npz").read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        spoilt = bytearray(data)
        for place in random.integers(0, len(data), 20):
            spoilt[place] ^= 0xFF
        (tmp_path / "golden.npz").write_bytes(spoilt)
        try:
            read_reference(
                tmp_path / "golden.npz"
            )  # what was flipped may have been without meaning
        except PortError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("in/first", "lacks in/<input>"),
        ("out/0", "lacks out/<i>"),
        ("shape/layer", "its shape/, mean/ or steps/ are missing or do not fit"),
        ("mean/layer", "its shape/, mean/ or steps/ are missing or do not fit"),
    ],
)
def test_reference_without_a_key(lost, words, tmp_path) -> None:
    arrays = {
        "in/first": np.zeros((2, 30, 3)), "out/0": np.zeros((2, 1)), "layer/layer": np.zeros((2, 3, 4)),
        "steps/layer": np.array([0, 1, 29]), "shape/layer": np.array([2, 30, 4]), "mean/layer": np.array([0.0, 1.0]),
    }  # fmt: skip
    np.savez(
        tmp_path / "golden.npz",
        **{key: values for key, values in arrays.items() if key != lost},
    )
    with pytest.raises(PortError, match=words):
        read_reference(tmp_path / "golden.npz")


def test_reference_reads_no_pickle(tmp_path) -> None:
    """An array of objects inside an otherwise good file is refused, not executed."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    path = tmp_path / "golden.npz"
    path.write_bytes((ZOO / "nested_twice.npz").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("layer/evil.npy", buffer.getvalue())
    with pytest.raises(PortError, match="Object arrays cannot be loaded"):
        read_reference(path)


def test_reference_from_arrays_needs_no_file() -> None:
    port, golden = zoo_pair("nested_twice")
    reference = read_reference(golden)
    assert compare(
        port, Reference(reference.inputs, reference.outputs, reference.layers)
    ).passed
