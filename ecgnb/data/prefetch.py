"""One thread that reads ahead, so that the next batch is there when it is asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

#: Items that the thread keeps ready.
DEPTH = 2


def prefetch(items: Iterator[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield the items of an iterator that one thread runs up to ``depth`` items ahead.

    An exception of the iterator is raised here, at its place in the sequence. When this generator is closed or
    thrown away the thread ends; closing waits for the item that is being made.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def work() -> None:
        """Fill the queue until the items end, one of them fails, or nobody wants more."""
        try:
            for item in items:
                ready.put(("item", item))
                if stopped.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))

    thread = threading.Thread(target=work, name="ecgnb-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room in the queue
            while not ready.empty():
                ready.get_nowait()
            thread.join(timeout=0.01)
