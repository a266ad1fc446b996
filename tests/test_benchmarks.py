from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_quick_benchmark_prints_a_table() -> None:
    """That it runs and names its targets; how fast anything is depends on the machine
    and is no test."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "startup"]
    printed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert (
        "import ecgnb" in printed
        and "<= 0.2 s" in printed
        and "open_run(...) warm" in printed
    )
