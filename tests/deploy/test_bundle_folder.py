"""A bundle comes back as it was, bit for bit, or says what is wrong with it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_in_new_process
from kills import kill_everywhere
from safetensors.torch import load_file, save_file

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.files import read_json, sha256_file, write_json
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the weights and let the checksum agree, as another program would."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    description = read_json(folder / "bundle.json")
    write_json(
        folder / "bundle.json",
        description | {"weights_sha256": sha256_file(folder / "model.safetensors")},
    )


def test_everything_comes_back_exactly(bundle: Bundle, tmp_path: Path) -> None:
    result = load_bundle(save_bundle(bundle, tmp_path / "b"))
    for field in dataclasses.fields(Bundle):
        if field.name != "model":
            assert getattr(result, field.name) == getattr(bundle, field.name), (
                field.name
            )
    assert result.model.spec() == bundle.model.spec() and not result.model.training
    expected_values, actual_values = (
        bundle.model.state_dict(),
        result.model.state_dict(),
    )
    assert list(expected_values) == list(actual_values)
    assert all(
        torch.equal(expected_values[name], actual_values[name])
        and expected_values[name].dtype == actual_values[name].dtype
        for name in expected_values
    )
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "README.md",
        "bundle.json",
        "model.safetensors",
    ]


def save_logits(bundle_folder: Path, folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    signal = torch.from_numpy(np.load(folder / "signal.npy"))
    with torch.inference_mode():
        windows = bundle.transforms(signal, fs=bundle.prepare.target_fs)
        np.save(folder / "logits.npy", bundle.model(windows).numpy())


def test_no_file_holds_a_path_of_its_maker(bundle: Bundle, tmp_path: Path) -> None:
    parameters = {"DATASET_DIR": "/home/anna/ecg", "MAPPING_CSV": "C:\\labels.csv"}
    parameters |= {"START_FROM": str(tmp_path / "start"), "EPOCHS": 3}
    mine = dataclasses.replace(
        bundle, provenance={"run": "r", "parameters": parameters}
    )
    folder = save_bundle(mine, tmp_path / "b")
    for file in folder.iterdir():
        content = file.read_bytes()
        for path in (b"anna", b"labels.csv", str(tmp_path).encode()):
            assert path not in content, file.name
    provenance = load_bundle(folder).provenance
    assert provenance == {"run": "r", "parameters": {"EPOCHS": 3}}


def test_a_fresh_process_in_another_folder_gives_the_same_logits_bit_for_bit(
    bundle: Bundle, tmp_path: Path
) -> None:
    shutil.move(save_bundle(bundle, tmp_path / "b"), tmp_path / "Ümzug nach nebenan")
    signal = np.random.default_rng(0).normal(size=(2, 12, 1000)).astype(np.float32)
    np.save(tmp_path / "signal.npy", signal)
    run_in_new_process(save_logits, tmp_path / "Ümzug nach nebenan", tmp_path)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            here = bundle.model(
                bundle.transforms(torch.from_numpy(signal), fs=100.0)
            ).numpy()
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), here)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("head.classifier.bias"),
            r'Missing key.*"head\.classifier\.bias"',
        ),
        (
            lambda w: w.update({"head.extra": torch.zeros(2)}),
            r'Unexpected key.*"head\.extra"',
        ),
        (
            lambda w: w.update({"head.classifier.bias": torch.zeros(5)}),
            r"size mismatch for head\.classifier\.bias.*torch\.Size\(\[5\]\).*torch\.Size\(\[3\]\)",
        ),
    ],
)
def test_weights_of_another_model_are_named(
    bundle: Bundle, tmp_path: Path, change, message: str
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    rewrite(folder, change)
    with pytest.raises(
        CheckpointError,
        match=rf"(?s)do not fit model 'resnet1d'.*{message}.*Copy the whole bundle",
    ):
        load_bundle(folder)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_changed_byte_is_seen(bundle: Bundle, tmp_path: Path, position: int) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[position] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum differs"):
        load_bundle(folder)


def test_a_half_file_whose_checksum_was_made_to_agree(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    write_json(
        folder / "bundle.json",
        read_json(folder / "bundle.json") | {"weights_sha256": sha256_file(file)},
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors do not fit"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(format=3),
            r"format 3; this version reads 2\. Load it with the version that wrote it",
        ),
        (lambda d: d.pop("format"), "format None; this version reads 2"),
        (lambda d: d.pop("classes"), r"was changed \(KeyError: 'classes'\)"),
        (lambda d: d["prepare"].update(volume=11), r"was changed .*volume"),
        (lambda d: d.update(model=None), r"was changed \(TypeError"),
        (lambda d: d["prepare"].update(target_fs=10**400), r"was changed \(Overflow"),
    ],
)
def test_a_description_of_another_kind(
    bundle: Bundle, tmp_path: Path, change, message: str
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    description = read_json(folder / "bundle.json")
    change(description)
    write_json(folder / "bundle.json", description)
    with pytest.raises(CheckpointError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (("mean", "max"), "2 rules for 3 classes"),
        (("mean", "median", "max"), "'median'.*mean, max"),
    ],
)
def test_windows_that_cannot_be_joined_are_refused(
    bundle: Bundle, tmp_path: Path, rules, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(bundle, aggregate=rules)
    folder = save_bundle(bundle, tmp_path / "b")
    write_json(
        folder / "bundle.json", read_json(folder / "bundle.json") | {"aggregate": rules}
    )
    with pytest.raises(ConfigError, match=message):
        load_bundle(folder)


def test_an_architecture_that_is_not_there(bundle: Bundle, tmp_path: Path) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    description = read_json(folder / "bundle.json")
    description["model"]["name"] = "resnet2d"
    write_json(folder / "bundle.json", description)
    with pytest.raises(ConfigError, match="no model called 'resnet2d'"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", '{"format": 2, "mo', "[1]", "null", "\0"])
def test_a_damaged_or_missing_description(
    bundle: Bundle, tmp_path: Path, text: str
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    (folder / "bundle.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"has no readable bundle\.json.*evaluate the run again"
    ):
        load_bundle(folder)
    with pytest.raises(CheckpointError, match=r"has no readable bundle\.json"):
        load_bundle(tmp_path / "nowhere")


def test_killed_anywhere_a_bundle_is_whole_or_none(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = save_bundle(bundle, tmp_path / "b")
    old = load_bundle(folder).temperature
    other = dataclasses.replace(bundle, temperature=old + 1)
    names = sorted(path.name for path in folder.iterdir())

    def check() -> None:
        with contextlib.suppress(CheckpointError):
            assert load_bundle(folder).temperature in (old, old + 1)
        save_bundle(other, folder)
        assert load_bundle(folder).temperature == old + 1
        assert sorted(path.name for path in folder.iterdir()) == names
        save_bundle(bundle, folder)

    assert kill_everywhere(lambda: save_bundle(other, folder), check) >= 4


def test_a_flipped_bit_of_the_description_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = save_bundle(dataclasses.replace(bundle, temperature=1.25), tmp_path / "b")
    text = (folder / "bundle.json").read_text(encoding="utf-8")
    changed = text.replace("1.25", "1.65")
    (folder / "bundle.json").write_text(changed, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"bundle\.json was changed"):
        load_bundle(folder)


def test_an_older_description_beside_newer_weights_is_seen(
    bundle: Bundle, tmp_path: Path
) -> None:
    """A writer that is killed between the two files leaves a bundle that nobody takes
    for a whole one."""
    folder = save_bundle(bundle, tmp_path / "b")
    old = (folder / "bundle.json").read_bytes()
    with torch.no_grad():
        bundle.model.head.classifier.bias.add_(1.0)
    save_bundle(bundle, folder)
    (folder / "bundle.json").write_bytes(old)
    with pytest.raises(CheckpointError, match="checksum differs"):
        load_bundle(folder)
