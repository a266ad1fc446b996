"""Run all benchmarks and print one table: `python -m benchmarks`, or `python -m
benchmarks --quick`.

ecgnb ("ours") and the common recipe ("theirs") are measured in the same run, alternating,
and the medians are compared: ratios carry over to other machines, seconds do not.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform

import pandas as pd

MODULES = ("startup", "preparation", "loop", "bootstrap", "copies", "port", "ecg_fm")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions; about a minute"
    )
    parser.add_argument("--only", choices=MODULES, help="one part")
    options = parser.parse_args()
    rows = []
    for name in MODULES if options.only is None else (options.only,):
        print(f"measuring {name} ...", flush=True)
        rows += importlib.import_module(f"benchmarks.{name}").run(options.quick)
    table = pd.DataFrame(rows)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(
        table.to_string(
            index=False, na_rep="", float_format=lambda value: f"{value:.4g}"
        )
    )


if __name__ == "__main__":
    main()
