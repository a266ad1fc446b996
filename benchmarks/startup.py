"""Time of `import ecgnb` and of `open_run` in a cell."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.measure import row


def run(quick: bool) -> list[dict[str, Any]]:
    """Measure the import in fresh processes and a warm `open_run()`."""
    return [_import_row(5 if quick else 15), _open_run_row(20 if quick else 100)]


def _import_row(repeats: int) -> dict[str, Any]:
    """Time fresh interpreters; the time of an empty one is subtracted run by run."""
    spent = [_process("import ecgnb") - _process("pass") for _ in range(repeats)]
    return row("import ecgnb", statistics.median(spent), None, "s", "<= 0.2 s")


def _process(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def _open_run_row(repeats: int) -> dict[str, Any]:
    import ecgnb

    with tempfile.TemporaryDirectory() as home:
        before = os.environ.get("ECGNB_HOME")
        os.environ["ECGNB_HOME"] = home
        try:
            ecgnb.open_run(PROFILE="smoke")
            spent = [
                _timed(lambda: ecgnb.open_run(PROFILE="smoke")) for _ in range(repeats)
            ]
        finally:
            os.environ.pop("ECGNB_HOME")
            if before is not None:
                os.environ["ECGNB_HOME"] = before
    return row(
        "open_run(...) warm", 1000 * statistics.median(spent), None, "ms", "<= 50 ms"
    )


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
