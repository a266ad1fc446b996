"""Interrupts (Ctrl-C, a notebook's stop button) wait while libraries are loading."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Raise the `KeyboardInterrupt` of an interrupt in the block at its end.

    An import that is interrupted leaves half of a library behind: PyTorch cannot be
    imported a second time in the same process ("function '_has_torch_function' already
    has a docstring"), so that a notebook's kernel would be lost. Outside of the main
    thread, which gets no interrupts, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is None:  # a handler that was not installed from Python stays
        yield
        return
    is_interrupted = False

    def remember(number: int, frame: Any) -> None:
        nonlocal is_interrupted
        is_interrupted = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if is_interrupted:
            signal.raise_signal(signal.SIGINT)
