"""Progress of long loops: a bar for a person who watches, plain lines for a log."""

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
    gets a bar, and everything else (papermill, a log file, a batch job) gets lines,
    because a bar would be printed at every refresh there.
    """
    chosen = os.environ.get("ECGNB_PROGRESS", "")
    if chosen in ("bar", "lines", "quiet"):
        return chosen
    if "ipykernel" in sys.modules:
        # JupyterLab, VS Code and Colab set one of these; papermill sets none.
        live = {"JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"}
        is_watched = not live.isdisjoint(os.environ)
    else:
        is_watched = sys.stderr.isatty()
    return "bar" if is_watched else "lines"


def say(line: str) -> None:
    """Log one line of progress, and print it unless the mode is "quiet"."""
    logging.getLogger("ecgnb").info(line)
    if mode() != "quiet":
        print(line, flush=True)


def progress(
    items: Iterable[T], total: int | None = None, title: str = ""
) -> Iterator[T]:
    """Iterate over ``items`` and show the progress.

    >>> list(progress(range(3), title="shards"))
    [0, 1, 2]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    display = mode()
    if display == "bar":
        from tqdm.auto import tqdm  # here, because a headless run needs no widgets

        yield from tqdm(items, total=total, desc=title, leave=False)
    elif display == "lines":
        yield from _with_lines(items, total, title)
    else:
        yield from items


def _with_lines(items: Iterable[T], total: int | None, title: str) -> Iterator[T]:
    started = last_line = time.monotonic()
    of_total = f"/{total}" if total else ""
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_line >= LINE_EVERY_S:
            last_line = now
            say(f"{title}: {done}{of_total} after {now - started:.0f} s")
