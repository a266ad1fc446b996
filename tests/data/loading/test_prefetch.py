from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ecgnb.data.loading.loaders import prefetch


def threads() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if thread.name == "ecgnb-prefetch"
    ]


def test_prefetch_reads_ahead_but_not_more_than_asked() -> None:
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    stream = prefetch(numbers(), depth=2)
    assert next(stream) == 0
    assert third.wait(10)  # 1 and 2 wait in the queue, 3 in the hand of the thread
    assert made == [0, 1, 2, 3]
    assert list(stream) == list(range(1, 100))
    assert not threads()


def test_an_error_comes_at_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = prefetch(numbers())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stream)
    assert not threads()


def test_closing_while_the_thread_waits_for_room() -> None:
    full = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(1000):
            if number == 4:
                full.set()
            yield number

    stream = prefetch(numbers(), depth=3)
    assert next(stream) == 0
    assert full.wait(10)
    stream.close()
    assert not threads()
