"""What a file is that is no checkpoint: what people have in its place, and what to do
then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecgnb.checkpoints.constructors import brief
from ecgnb.core.errors import CheckpointError

#: So much of a file tells what it is (bytes).
HEAD = 512

_AGAIN = "Open its address in a browser, sign in if the page asks for it, and download the file itself"
_PACKED = "unpack it first, and open the checkpoint in it"
_LFS = b"version https://git-lfs.github.com/spec/"

#: How the first bytes are recognised, what the file is, and what to do.
_KINDS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda head: head.startswith(_LFS), "a Git LFS pointer of a few lines, not the file itself", "run `git lfs pull`"),
    (lambda head: _text(head).startswith(("<!doctype", "<html", "<?xml", "<head", "<error")), "a web page", _AGAIN),
    (lambda head: _text(head).startswith(('{"error', '{"message', '{"detail')), "an error message of a server", _AGAIN),
    (lambda head: head.startswith(b"\x1f\x8b"), "a gzip file", _PACKED),
    (lambda head: head.startswith((b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")), "a compressed file", _PACKED),
    (lambda head: head.startswith((b"7z\xbc\xaf", b"Rar!")), "a 7-Zip or RAR archive", _PACKED),
    (
        lambda head: head[257:262] == b"ustar",
        "a tar archive",
        f"{_PACKED}; if PyTorch before 0.2 wrote it, load it with PyTorch and save it again",
    ),
    (lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), "an HDF5 file", "Keras models are read by `ecgnb port`"),
    (lambda head: head.startswith(b"\x93NUMPY"), "a NumPy array (.npy)", "read it with numpy.load"),
    (lambda head: head.startswith(b"PK\x05\x06"), "an empty zip file", "download or copy it again"),
    (
        lambda head: not any(head),
        "nothing but zeros, as after a download or copy that was cut short",
        "fetch it again",
    ),
)  # fmt: skip


def readable_file(path: str | Path) -> Path:
    """Return the path of a file that exists and is not empty.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(
            each.name for each in path.iterdir() if each.suffix in _SUFFIXES
        )[:5]
        told = (
            f" Name a file in it, such as {', '.join(inside)}."
            if inside
            else " Name the file itself."
        )
        raise CheckpointError(f"{path} is a folder, not a checkpoint.{told}")
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Check its name and folder.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes). Copy or download it again.")
    return path


_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def foreign(path: Path, head: bytes) -> CheckpointError:
    """Return the error for a file that is no checkpoint, by its first bytes."""
    for is_it, what, advice in _KINDS:
        if is_it(head):
            return CheckpointError(
                f"{path} is {what}, no PyTorch checkpoint. {advice[0].upper()}{advice[1:]}."
            )
    return CheckpointError(
        f"{path} is no PyTorch checkpoint and no safetensors file; it begins with {_beginning(head)}. Check that it is "
        "the file you mean, and download it again."
    )


def _text(head: bytes) -> str:
    return "".join(head.decode("utf-8", "replace").lstrip("\ufeff").lower().split())


def _beginning(head: bytes) -> str:
    text = head[:40].decode("utf-8", "replace")
    return brief(text) if text.isprintable() else head[:16].hex(" ")
