from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_pickles import container, rewritten
from tensor_checks import same

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.core.errors import CheckpointError


def test_files_without_checksums_and_of_any_folder_name(tmp_path: Path) -> None:
    value = {"w": torch.arange(5.0)}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(value, tmp_path / "no crc.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = open_checkpoint(tmp_path / "no crc.pt")
    assert same(checkpoint.contents, value, checkpoint)


def test_other_zip_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    container(
        tmp_path / "script.pt",
        b"N.",
        **{"constants.pkl": b")."},
        **{"code/__torch__/m.py": b"pass"},
    )
    contents = {"nested.zip": ["model.pt"], "other.zip": ["readme.txt"], "twice.pt": ["a/data.pkl", "a/data.pkl"],
                "model.keras": ["config.json", "model.weights.h5"], "two.pt": ["a/data.pkl", "b/data.pkl"]}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own about two entries of one name
        for name, entries in contents.items():
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for entry in entries:
                    archive.writestr(entry, b"N.")
    message = {"arrays.npz": "NumPy archive", "nested.zip": "'model.pt' in it; unpack", "other.zip": "it has 'readme.txt'",
            "twice.pt": "two entries of one name", "script.pt": "TorchScript", "model.keras": "a Keras model",
            "two.pt": "in two folders"}  # fmt: skip
    for name, words in message.items():
        with pytest.raises(CheckpointError, match=words):
            open_checkpoint(tmp_path / name)


def test_compressed_big_endian_and_incomplete_archives(tmp_path: Path) -> None:
    source = tmp_path / "good.pt"
    torch.save({"w": torch.arange(500.0), "v": torch.ones(3)}, source)
    faults: list[tuple[dict[str, Any], str]] = [
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed or encrypted"),
        ({"byteorder": b"big"}, "byte order big-endian"),
        ({"byteorder": b"middle"}, "byte order .*middle"),
        ({"data/1": None}, "storage '1', which the file does not have"),
        ({"data/0": b"\0" * 1999}, "'0' should have 2,000 bytes and has 1,999"),
        ({"data.pkl": b"\x80\x02}q"}, "data.pkl in .* its pickle is damaged"),
    ]
    for position, (changes, message) in enumerate(faults):
        path = rewritten(source, tmp_path / f"{position}.pt", **changes)
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(path)
    intact = open_checkpoint(
        rewritten(source, tmp_path / "same.pt")
    )  # offsets that are no multiple of anything
    assert torch.equal(intact.tensor(intact.contents["w"]), torch.arange(500.0))
