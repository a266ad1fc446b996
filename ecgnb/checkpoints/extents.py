"""What reading a container gives: the values in it, and where the numbers of its tensors lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ecgnb.checkpoints.opcodes import Unpickled


@dataclass(frozen=True)
class Extent:
    """Where a storage lies in a file; checked to be within it.

    Attributes:
        start: its first byte.
        n_bytes: its size.
        crc: checksum of its bytes (CRC-32); 0 where the file has none.
        alignment: what ``start`` must be a multiple of for its numbers to be used where they lie (bytes).
    """

    start: int
    n_bytes: int
    crc: int = 0
    alignment: int = 8


@dataclass(frozen=True, eq=False)
class Opened:
    """A container whose numbers were not read yet.

    Attributes:
        kind: "zip", "legacy" or "safetensors".
        unpickled: its values.
        extents: a storage each, by name.
    """

    kind: str
    unpickled: Unpickled
    extents: Mapping[str, Extent]


def incomplete(path: object, size: int, needed: int) -> str:
    """Return what to say of a file that ends before its tensors do."""
    return (
        f"{path} is incomplete: its tensors end at byte {needed:,}, the file at {size:,}. The download or copy was cut "
        "short: fetch it again."
    )
