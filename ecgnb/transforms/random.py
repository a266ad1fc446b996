"""Random numbers that belong to a record, not to a moment: counter-based and equal on
every device.

A number is a pure function of (seed, step, record key, stream, position). Neither the
other records of a batch, nor the batch's size, nor the number of threads or workers,
nor the device changes what a record gets. Only integer arithmetic modulo 2**64 and one
exact conversion to float32 are used, so the numbers are the same to the last bit
everywhere.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", 2014).
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd: the step of SplitMix64's counter
_BYTES = 0x00FF00FF00FF00FF  # every second byte of a 64-bit word
#: Standard deviation of the sum of eight independent uniform bytes.
_BYTES_SD = math.sqrt(8 * (256**2 - 1) / 12)


def record_states(
    keys: Tensor, *, seed: int = 0, step: int = 0, stream: int = 0
) -> Tensor:
    """Return the state from which all numbers of each record at this step are drawn.

    Args:
        keys: int64 ``[B]``, a number that names each record (its row in the store).
        seed: the seed of the run; any integer, taken modulo 2**64.
        step: the optimisation step or the epoch.
        stream: who asks; two streams of one record are independent.

    Returns:
        int64 ``[B]`` on the device of ``keys``.
    """
    state = torch.full_like(keys, _signed(seed), dtype=torch.int64)
    for number in (step, keys.to(torch.int64), stream):
        number = number if isinstance(number, Tensor) else _signed(number)
        state = _mix(state + _signed(_GOLDEN)).add_(number)
    return _mix(state)


def uniform(states: Tensor, shape: tuple[int, ...] = (), stream: int = 0) -> Tensor:
    """Return uniform numbers in [0, 1), multiples of 2**-24.

    Args:
        states: int64 ``[B]`` from :func:`record_states`.
        shape: how many numbers a record needs.
        stream: which of the record's quantities; two of them are independent.

    Returns:
        float32 ``[B, *shape]``.

    >>> uniform(record_states(torch.tensor([7, 8])), (2,)).shape
    torch.Size([2, 2])
    """
    words = _words(states, math.prod(shape), stream)
    numbers = (
        words.bitwise_right_shift_(40)
        .bitwise_and_((1 << 24) - 1)
        .to(torch.float32)
        .mul_(2.0**-24)
    )
    return numbers.reshape(-1, *shape)


def normal(states: Tensor, shape: tuple[int, ...] = (), stream: int = 0) -> Tensor:
    """Return numbers with mean 0, variance 1 and a bell-shaped density.

    Each is the centred sum of the eight bytes of one hash. It differs from a Gaussian
    by an excess kurtosis of -0.15 and by its bound at 4.9 standard deviations; in
    exchange it needs no logarithm or cosine, whose last bits differ between devices and
    between vector and scalar code.

    Args:
        states: int64 ``[B]`` from :func:`record_states`.
        shape: how many numbers a record needs.
        stream: which of the record's quantities.

    Returns:
        float32 ``[B, *shape]``.
    """
    words = _words(states, math.prod(shape), stream)
    odd = words.bitwise_right_shift(8).bitwise_and_(_BYTES)
    # Four sums of two bytes stand in four 16-bit lanes; the multiplication adds the
    # lanes up in the highest one.
    total = (
        words.bitwise_and_(_BYTES)
        .add_(odd)
        .mul_(0x0001000100010001)
        .bitwise_right_shift_(48)
    )
    return total.sub_(1020).to(torch.float32).mul_(1.0 / _BYTES_SD).reshape(-1, *shape)


def stream_of(name: str, occurrence: int = 0) -> int:
    """Return the stream of the transform ``name``, the ``occurrence``-th of that name
    in its pipeline.

    The stream hangs on the name and not on the place, so putting another transform
    before it changes nothing.
    """
    return zlib.crc32(name.encode()) + (occurrence << 32)


def _words(states: Tensor, count: int, stream: int) -> Tensor:
    """Return int64 ``[B, count]`` hashes, all 64 bits random."""
    start = _mix(states + _signed((stream + 1) * _GOLDEN))
    counter = torch.arange(1, count + 1, device=states.device).mul_(_signed(_GOLDEN))
    return _mix(start[:, None] + counter[None, :])


def _mix(words: Tensor) -> Tensor:
    """Hash int64 words in place: SplitMix64's finaliser, whose shifts bring in
    zeros.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words.bitwise_xor_(
            words.bitwise_right_shift(shift).bitwise_and_((1 << (64 - shift)) - 1)
        )
        words.mul_(_signed(factor))
    return words.bitwise_xor_(words.bitwise_right_shift(31).bitwise_and_((1 << 33) - 1))


def _signed(number: int) -> int:
    """Return ``number`` modulo 2**64 as the int64 of the same bits."""
    number = int(number) & ((1 << 64) - 1)
    return number - (1 << 64) if number >> 63 else number
