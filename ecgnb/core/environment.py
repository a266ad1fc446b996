"""Describe the machine: Python, processors, memory, GPUs and package versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

#: The packages whose versions a result depends on.
PACKAGES = (
    "ecgnb",
    "torch",
    "lightning-fabric",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "wfdb",
    "safetensors",
    "joblib",
    "papermill",
    "nbval",
    "jupyterlab",
)


def describe_environment(folder: Path) -> dict[str, Any]:
    """Return Python, operating system, processors, memory, disk at ``folder``, GPUs,
    package versions and the commit of the code, but no path.
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "cpu_cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "disk_free_gb": round(shutil.disk_usage(folder).free / 1e9, 1),
        "gpus": describe_gpus(),
        "commit": code_commit(Path(__file__).resolve().parents[2]),
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def code_commit(folder: Path) -> str:
    """Return the commit of a clone, with a note where its files differ from it.

    It is "unknown" without git, and for a package that is installed without a clone.
    """
    # Variables such as GIT_DIR, which git sets in its hooks, mean another repository.
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    }

    def git(*arguments: str) -> str:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,  # seconds; a lock or a slow drive must not stop a run
        )
        return process.stdout.strip()

    try:
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").split("\n")
        # A virtual environment may be inside the repository of another project.
        if Path(top).resolve() != folder.resolve():
            return "unknown"
        changes = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}, with changes" if changes else commit


def package_version(name: str) -> str:
    """Return the installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe_gpus() -> list[dict[str, Any]]:
    """Return name and memory (total and free, GB) of every CUDA GPU, or the Apple
    GPU.
    """
    import torch  # here, because other functions of this module need no torch

    if torch.cuda.is_available():
        gpus = []
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)  # bytes
            gpus.append(
                {
                    "name": torch.cuda.get_device_name(index),
                    "memory_gb": round(total / 1e9, 1),
                    "free_gb": round(free / 1e9, 1),
                }
            )
        return gpus
    if torch.backends.mps.is_available():
        # It shares the memory of the machine.
        return [{"name": "Apple GPU (mps)", "memory_gb": None, "free_gb": None}]
    return []


def _memory_gb() -> float | None:
    """Return the physical memory, None on Windows, which has no sysconf."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
