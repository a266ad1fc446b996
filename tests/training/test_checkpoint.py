from __future__ import annotations

import errno
import hashlib
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from training_fakes import make_model

from ecgnb.core.errors import CheckpointError, TryAgainError
from ecgnb.training.checkpoint import (
    check_identity,
    load_best,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from ecgnb.training.state import State


def test_round_trip(tmp_path: Path) -> None:
    state = State(
        epoch=2,
        batch=3,
        step=11,
        loss_sum=0.1 + 0.2,
        history=[{"epoch": 1, "auc": float("nan")}],
    )
    model = make_model()
    save_checkpoint(
        tmp_path / "a.ckpt",
        {"state": asdict(state), "model": model.state_dict()},
    )
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert repr(State(**found["state"])) == repr(state)
    assert all(
        torch.equal(found["model"][name], value)
        for name, value in model.state_dict().items()
    )
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), MemoryError()])
def test_a_disk_that_fails_for_a_moment_damages_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    save_checkpoint(tmp_path / "a.ckpt", {"epoch": 3})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(
            TryAgainError, match=r"a\.ckpt cannot be used at the moment"
        ):
            read_checkpoint(tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["epoch"] == 3


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is missing\. Put it back"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    """Wherever it is: tensors, numbers, names, padding, table of contents, checksum."""
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": make_model().state_dict(), "epoch": 3})
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(8 * len(whole), size=60):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.ckpt is (damaged|not)"):
            read_checkpoint(path)
    path.write_bytes(whole)
    assert read_checkpoint(path)["epoch"] == 3


def test_pytorch_and_zip_programs_read_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": torch.arange(3.0)})
    assert torch.load(path, weights_only=True)["model"].tolist() == [0, 1, 2]
    comment = zipfile.ZipFile(path).comment
    digest = hashlib.sha256(path.read_bytes()[: -len(comment)]).hexdigest()
    assert comment == b"ecgnb sha256 " + digest.encode()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_checkpoint_cut_short(tmp_path: Path, part: float) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": make_model().state_dict()})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(
        CheckpointError,
        match=r"a\.ckpt is damaged and cannot be read .* delete .* train anew",
    ):
        read_checkpoint(path)


def test_flipped_bytes_in_the_directory_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": make_model().state_dict()})
    damaged = bytearray(path.read_bytes())
    damaged[-40:-20] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("evil-was-here"),))


def test_code_in_a_checkpoint_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 3, "model": Evil()}, "zip.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("zip.ckpt", "plain.ckpt"):
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(name)
    assert not Path("evil-was-here").exists()


def test_a_file_of_someone_else(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "a.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"not a checkpoint of this version .*format None, expected 3",
    ):
        read_checkpoint(tmp_path / "a.ckpt")
    torch.save([1, 2], tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match="format 'list'"):
        read_checkpoint(tmp_path / "b.ckpt")


def test_another_configuration_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    check_identity(path, {"lr": 0.1, "run": "a"}, {"lr": 0.1, "run": "a"})
    with pytest.raises(
        CheckpointError,
        match=r"lr was 0\.1, is 0\.2; batches was None, is 7\. .* delete",
    ):
        check_identity(
            path, {"lr": 0.1, "run": "a"}, {"lr": 0.2, "run": "a", "batches": 7}
        )


def test_another_model_is_told_by_name() -> None:
    weights = make_model("batch", n_leads=3).state_dict()
    with pytest.raises(CheckpointError) as caught:
        load_weights(make_model("group"), weights, "last.ckpt")
    told = str(caught.value)
    assert "unexpected: 1.num_batches_tracked, 1.running_mean, 1.running_var" in told
    assert "other shape: 0.weight (8, 3, 7) instead of (8, 2, 7)" in told
    surplus = {**make_model().state_dict(), "more": torch.zeros(1)}
    surplus.pop("0.weight")
    with pytest.raises(CheckpointError, match=r"missing: 0\.weight; unexpected: more"):
        load_weights(make_model(), surplus, "last.ckpt")


def test_load_best(tmp_path: Path) -> None:
    trained, fresh = make_model(), make_model()
    with torch.no_grad():
        trained[0].weight.add_(1)
    save_checkpoint(
        tmp_path / "best.ckpt",
        {"model": trained.state_dict(), "objective": {}, "epoch": 4, "classes": ["A"]},
    )
    about = load_best(tmp_path / "best.ckpt", fresh)
    assert (about["epoch"], about["classes"]) == (4, ["A"])
    assert torch.equal(trained[0].weight, fresh[0].weight)
