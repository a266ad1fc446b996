"""Pickles that would do harm, written byte by byte, and containers around them."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecgnb.checkpoints.opcodes import interpret

#: Protocol 2 opcodes for one float tensor of four zeros in the storage "0", without
#: PROTO and STOP.
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)


def text(value: str) -> bytes:
    """Opcode of a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    """Opcode of a short text, of protocol 4."""
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def tensor(
    numel: int = 4,
    offset: bytes = b"K\x00",
    shape: bytes = b"K\x04\x85",
    stride: bytes = b"K\x01\x85",
) -> bytes:
    """A pickle of ``{"w": tensor}`` whose description can be made to lie."""
    call = TENSOR.replace(b"K\x04tQ", b"J" + struct.pack("<i", numel) + b"tQ")
    call = call.replace(
        b"K\x00K\x04\x85K\x01\x85\x89", offset + shape + stride + b"\x89"
    )
    return b"\x80\x02}" + text("w") + call + b"s."


def container(
    path: Path, pickle: bytes, storages: dict[str, bytes] | None = None, **more: bytes
) -> Path:
    """Write a zip container as `torch.save` does, around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle)
        for name, content in {
            "byteorder": b"little",
            "version": b"3\n",
            **more,
        }.items():
            archive.writestr(f"archive/{name}", content)
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def rewritten(
    source: Path, path: Path, compression: int = zipfile.ZIP_STORED, **replaced: bytes
) -> Path:
    """Copy a zip container with other contents for some entries; ``None`` leaves one
    out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for entry in old.infolist():
            short_name = entry.filename.partition("/")[2]
            if short_name not in replaced:
                new.writestr(entry.filename, old.read(entry))
            elif replaced[short_name] is not None:
                new.writestr(entry.filename, replaced[short_name])
    return path


def stream(*parts: bytes) -> io.BytesIO:
    """A pickle to interpret."""
    return io.BytesIO(b"".join(parts))


_heard: list[list[str]] = []


_HARMFUL = (
    "import",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "pickle.",
)


def _hear(event: str, arguments: tuple) -> None:
    for events in _heard:
        if event.startswith(_HARMFUL):
            events.append(f"{event} {arguments}")


@contextlib.contextmanager
def audited() -> Iterator[list[str]]:
    """Give the list of what Python's audit hooks hear of imports, programs, sockets and
    unpickling in the block."""
    if not hasattr(sys, "_ecgnb_hears"):
        sys.addaudithook(_hear)  # for good: hooks cannot be removed
        sys._ecgnb_hears = True  # type: ignore[attr-defined]
    events: list[str] = []
    _heard.append(events)
    try:
        yield events
    finally:
        _heard.remove(events)


def value_of(*parts: bytes) -> Any:
    """Return the value of a pickle in parts."""
    return interpret(stream(*parts), "a test").value


def deep(levels: int, kind: bytes) -> bytes:
    """A pickle of nested lists ("l") or tuples ("t"), without STOP."""
    return {b"l": b"]" * levels + b"a" * (levels - 1), b"t": b")" + b"\x85" * levels}[
        kind
    ]


def memoised(first: bytes, wrap: Callable[[bytes], bytes]) -> bytes:
    """A value wrapped sixty times, each time around the one before taken from the
    memo."""
    data = first + b"q\x00"
    for level in range(60):
        data += b"0" + wrap(b"h" + bytes([level])) + b"q" + bytes([level + 1])
    return data
