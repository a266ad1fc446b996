"""One progress display for the whole house: a bar where a person watches, plain lines
where a file listens.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two lines of one long loop when there is no bar.
LINE_EVERY_S = 10.0


def mode() -> str:
    """Return ``"bar"``, ``"lines"`` or ``"quiet"``.

    ``ECGNB_PROGRESS`` decides where it is set. Otherwise a live notebook or a terminal
    gets a bar, and everything else (papermill, a log file, a batch job) gets lines: a
    bar there would print every refresh.
    """
    chosen = os.environ.get("ECGNB_PROGRESS", "")
    if chosen in ("bar", "lines", "quiet"):
        return chosen
    if "ipykernel" in sys.modules:
        # Set by JupyterLab, VS Code and Colab for kernels with a person in front;
        # nbclient and papermill set none.
        live = any(
            name in os.environ
            for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
        )
        return "bar" if live else "lines"
    return "bar" if sys.stderr.isatty() else "lines"


def say(line: str) -> None:
    """Write one line of progress to the log, and print it at once unless the display is
    quiet.
    """
    logging.getLogger("ecgnb").info(line)
    if mode() != "quiet":
        print(line, flush=True)


def progress(
    items: Iterable[T], total: int | None = None, title: str = "", leave: bool = False
) -> Iterator[T]:
    """Iterate over ``items`` and show how far it is.

    >>> list(progress(range(3), title="shards"))
    [0, 1, 2]
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    how = mode()
    if how == "bar":
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=title, leave=leave)
    elif how == "lines":
        yield from _lines(items, total, title)
    else:
        yield from items


def _lines(items: Iterable[T], total: int | None, title: str) -> Iterator[T]:
    started = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= LINE_EVERY_S:
            said = now
            of = f"/{total}" if total else ""
            say(f"{title}: {done}{of} after {now - started:.0f} s")
