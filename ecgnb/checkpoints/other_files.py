"""Recognise files that are no checkpoint, and advise what to do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecgnb.checkpoints.inert import brief
from ecgnb.core.errors import CheckpointError, first_few

HEAD = 512  # bytes by which a file is recognised
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

_DOWNLOAD = (
    "Open its address in a browser, sign in if the page requires it, and download the "
    "file itself"
)
_UNPACK = "Unpack it first, and open the checkpoint in it"
_TAR = f"{_UNPACK}; if PyTorch before 0.2 wrote it, load it with PyTorch and save it"
_WEB_PAGE = ("<!doctype", "<html", "<?xml", "<head", "<error")
_SERVER_ERROR = ('{"error', '{"message', '{"detail')
_COMPRESSED = (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # bzip2, xz, Zstandard


def _starts(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(prefixes)


#: Test of the first bytes, what the file is, and what to do.
_KINDS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (
        _starts(b"version https://git-lfs.github.com/spec/"),
        "a Git LFS pointer of a few lines, not the file itself",
        "Run `git lfs pull`",
    ),
    (lambda head: _text(head).startswith(_WEB_PAGE), "a web page", _DOWNLOAD),
    (
        lambda head: _text(head).startswith(_SERVER_ERROR),
        "an error message of a server",
        _DOWNLOAD,
    ),
    (_starts(b"\x1f\x8b"), "a gzip file", _UNPACK),
    (_starts(*_COMPRESSED), "a compressed file", _UNPACK),
    (_starts(b"7z\xbc\xaf", b"Rar!"), "a 7-Zip or RAR archive", _UNPACK),
    (lambda head: head[257:262] == b"ustar", "a tar archive", _TAR),  # POSIX.1-1988
    (
        _starts(b"\x89HDF\r\n\x1a\n"),
        "an HDF5 file",
        "Keras models are read by `ecgnb port`",
    ),
    (_starts(b"\x93NUMPY"), "a NumPy array (.npy)", "Read it with numpy.load"),
    # end of directory
    (_starts(b"PK\x05\x06"), "an empty zip file", "Download or copy it again"),
    (
        lambda head: not any(head),
        "nothing but zeros, as after a download or copy that was cut short",
        "Fetch it again",
    ),
)


def readable_file(path: str | Path) -> Path:
    """Return the path of a file that exists and is not empty.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
        advice = "the file itself"
        if names:
            advice = f"a file in it, such as {first_few(names)}"
        raise CheckpointError(f"{path} is a folder, not a checkpoint. Name {advice}.")
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Check its name and folder.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes). Copy or download it again.")
    return path


def unknown_file_error(path: Path, head: bytes) -> CheckpointError:
    """Return the error for a file that is no checkpoint, by its first bytes."""
    for matches, kind, advice in _KINDS:
        if matches(head):
            return CheckpointError(
                f"{path} is {kind}, no PyTorch checkpoint. {advice}."
            )
    start = head[:40].decode("utf-8", "replace")
    shown = brief(start) if start.isprintable() else head[:16].hex(" ")
    return CheckpointError(
        f"{path} is no PyTorch checkpoint and no safetensors file; it begins with "
        f"{shown}. Check that it is the right file, and download it again."
    )


def _text(head: bytes) -> str:
    """Decode, in lower case, without white space and a byte order mark."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff").lower()
    return "".join(text.split())
