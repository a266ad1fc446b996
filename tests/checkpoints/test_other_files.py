from __future__ import annotations

from pathlib import Path

import pytest

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.core.errors import CheckpointError

# Files that are something else, or not whole.

OTHER = {
    "page.pt": (
        b"<!DOCTYPE html><html>Sign in</html>",
        "is a web page.*download the file itself",
    ),
    "page2.pt": (b"\xef\xbb\xbf \n<HTML>", "is a web page"),
    "error.pt": (b'{"error":"Repository not found"}', "error message of a server"),
    "pointer.pt": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "git lfs pull",
    ),
    "empty.pt": (b"", "is empty"),
    "zeros.pt": (bytes(2000), "nothing but zeros"),
    "model.pt.gz": (b"\x1f\x8b\x08\x00abc", "is a gzip file.*(?i:unpack it)"),
    "model.tar": (
        b"storages" + bytes(249) + b"ustar\x0000" + bytes(300),
        "is a tar archive",
    ),
    "model.h5": (b"\x89HDF\r\n\x1a\nabc", "is an HDF5 file"),
    "x.npy": (b"\x93NUMPY\x01\x00", "NumPy array"),
    "notes.pt": (b"any text", "begins with 'any text'"),
    "noise.pt": (b"\x07\x9b\x00\x01" * 20, "begins with 07 9b 00 01"),
    "sklearn.pkl": (b"\x80\x04csklearn.svm\nSVC\n)R.", "plain pickle.*sklearn.svm.SVC"),
    "joblib.pkl": (b"\x80\x04\x95\x00\x00\x00", "plain pickle"),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_files_are_recognised_by_their_first_bytes(
    tmp_path: Path, name: str
) -> None:
    content, message = OTHER[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / name)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"is a folder.*model\.pt"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="There is no file"):
        open_checkpoint(tmp_path / "absent.pt")
