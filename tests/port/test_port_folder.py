"""A port as a folder is read back the same, or refused."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import Killed, kill_everywhere, killed_at
from safetensors.torch import load_file, save_file
from small_keras import dense, write_sequential

from ecgnb.core.errors import CheckpointError, ConfigError, PortError
from ecgnb.core.files import sha256_file
from ecgnb.port import PortedModel, load_port, port_keras, save_port
from ecgnb.port.port_folder import is_port


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    entries = [
        ("Flatten", {"name": "flat"}, {}),
        dense("d", 40, 3),
        ("Softmax", {"name": "s", "axis": -1}, {}),
    ]
    return write_sequential(tmp_path / "small.h5", [20, 2], entries)


def flat(outputs: list[Any]) -> list[torch.Tensor]:
    """Return the tensors of outputs that are one tensor or a tuple."""
    tensors: list[torch.Tensor] = []
    for output in outputs:
        tensors += output if isinstance(output, tuple) else [output]
    return tensors


def same(one: PortedModel, other: PortedModel, inputs: list[torch.Tensor]) -> bool:
    with torch.no_grad():
        values = [one(*inputs), one.logits(*inputs)]
        others = [other(*inputs), other.logits(*inputs)]
    pairs = zip(flat(values), flat(others), strict=True)
    return all(torch.equal(value, again) for value, again in pairs)


def test_port_folder_of_every_zoo_model_is_read_back_bitwise(saved_zoo: Path) -> None:
    different = []
    for folder in sorted(saved_zoo.iterdir()):
        port = load_port(folder)
        inputs = torch.load(folder / "inputs.pt", weights_only=True)
        wanted = torch.load(folder / "wanted.pt", weights_only=True)
        with torch.no_grad():
            values = [port(*inputs), port.logits(*inputs)]
        pairs = zip(flat(values), flat(wanted[:2]), strict=True)
        same = all(torch.equal(value, other) for value, other in pairs)
        if not same or port.origin.inputs != wanted[3] or port.training:
            different.append(folder.name)
    assert not different


def test_port_folder_keeps_trained_weights(keras_file: Path, tmp_path: Path) -> None:
    port = port_keras(keras_file)
    with torch.no_grad():
        port.d.weight.mul_(2)
    again = load_port(save_port(port, tmp_path / "out"))
    assert torch.equal(again.d.weight, port.d.weight) and not torch.equal(
        again.d.weight, port_keras(keras_file).d.weight
    )


def test_killed_anywhere_the_same_call_completes_a_port(
    keras_file: Path, tmp_path: Path
) -> None:
    port = port_keras(keras_file)
    names = ["model.py", "model.safetensors", "port.json"]

    def again(folder: Path) -> None:
        assert not (folder / "report.html").exists() or is_port(folder)
        save_port(port, folder)
        assert sorted(path.name for path in folder.iterdir()) == names

    for number in range(1, 20):
        folder = tmp_path / f"new{number}"
        with contextlib.suppress(Killed), killed_at(number):
            save_port(port, folder)
            break
        again(folder)
    assert number == 7  # four files named, one and an example of permissions deleted
    old = save_port(port, tmp_path / "old")
    (old / "report.html").write_text("of the older port", encoding="utf-8")
    n_kills = kill_everywhere(lambda: save_port(port, old), lambda: again(old))
    assert n_kills == 7 and not (old / "report.html").exists()


def test_a_folder_of_somebody_else_is_refused(keras_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("# mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds other files and no port"):
        save_port(port_keras(keras_file), tmp_path)


def test_a_flipped_bit_of_the_description_is_refused(
    keras_file: Path, tmp_path: Path
) -> None:
    folder = save_port(port_keras(keras_file), tmp_path / "out", notes="CC BY 4.0")
    text = (folder / "port.json").read_text(encoding="utf-8")
    changed = text.replace("CC BY 4.0", "CC BY 5.0")
    (folder / "port.json").write_text(changed, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"port\.json was changed"):
        load_port(folder)


def test_port_folder_reads_back_without_h5py_and_without_running_the_source(
    keras_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = port_keras(keras_file)
    folder = save_port(port, tmp_path / "out")
    (folder / "model.py").write_text("raise SystemExit('executed')", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert same(port, load_port(folder), [torch.randn(2, 20, 2)])


def test_port_folder_leaves_the_random_numbers_of_the_user_alone(
    keras_file: Path, tmp_path: Path
) -> None:
    folder = save_port(port_keras(keras_file), tmp_path / "out")
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    load_port(folder)
    assert torch.equal(torch.rand(3), wanted)


def edit(folder: Path, **changes: object) -> None:
    described = json.loads((folder / "port.json").read_text(encoding="utf-8"))
    (folder / "port.json").write_text(
        json.dumps({**described, **changes}), encoding="utf-8"
    )


def spoil_weights(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def spoil_epsilon(folder: Path) -> None:
    text = (folder / "port.json").read_text(encoding="utf-8")
    assert '"units": 3' in text
    (folder / "port.json").write_text(
        text.replace('"units": 3', '"units": 4'), encoding="utf-8"
    )


def replace_weights(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """As somebody does who mends the checksum, too."""
    save_file(state, folder / "model.safetensors")
    edit(folder, weights_sha256=sha256_file(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_weights, "checksum differs"),
        (spoil_epsilon, "is not the one that was written"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is missing"),
        (lambda folder: (folder / "port.json").unlink(), "no readable port.json"),
        (
            lambda folder: (folder / "port.json").write_text("{", encoding="utf-8"),
            "no readable port.json",
        ),
        (
            lambda folder: (folder / "port.json").write_text("[1]", encoding="utf-8"),
            "no readable port.json",
        ),
        (lambda folder: edit(folder, format=99), "of format 99"),
        (
            lambda folder: edit(folder, input_layout="NCT"),
            "is not the one that was written",
        ),
        (lambda folder: edit(folder, source=None), "not as it was written"),
        (
            lambda folder: edit(folder, contract={"fs": 1}),
            "not as it was written|lacks",
        ),
    ],
)
def test_port_folder_refuses_a_damaged_folder(
    keras_file: Path, tmp_path: Path, spoil, message: str
) -> None:
    folder = save_port(port_keras(keras_file), tmp_path / "out")
    spoil(folder)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        load_port(folder)


def test_port_folder_refuses_weights_of_another_model_and_nan(
    keras_file: Path, tmp_path: Path
) -> None:
    folder = save_port(port_keras(keras_file), tmp_path / "out")
    state = load_file(folder / "model.safetensors")
    replace_weights(
        folder, {**state, "d.weight": state["d.weight"][:, :-1].contiguous()}
    )
    with pytest.raises(PortError, match=r"d\.weight has the shape \[3, 39\]"):
        load_port(folder)
    replace_weights(folder, {"d.weight": state["d.weight"]})
    with pytest.raises(PortError, match=r"d\.bias is missing"):
        load_port(folder)
    replace_weights(folder, {**state, "d.bias": torch.full((3,), float("nan"))})
    with pytest.raises(PortError, match="NaN"):
        load_port(folder)


def test_port_folder_refuses_to_write_nan(keras_file: Path, tmp_path: Path) -> None:
    port = port_keras(keras_file)
    with torch.no_grad():
        port.d.bias[0] = float("nan")
    with pytest.raises(PortError, match="NaN"):
        save_port(port, tmp_path / "out")
    assert not (tmp_path / "out").exists()
