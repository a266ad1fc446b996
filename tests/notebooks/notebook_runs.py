"""Notebooks for people, executed in a project of their own and compared with
themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from commands import fork_kernels
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def executed(
    name: str, folder: Path, environment: dict[str, str], **parameters: object
) -> nbformat.NotebookNode:
    """Run a notebook of the project; the second cell holds its parameters."""
    (folder / "artifacts").mkdir(exist_ok=True)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    notebook.cells[1].source += "\n" + "\n".join(
        f"{name} = {value!r}" for name, value in parameters.items()
    )
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook,
        timeout=300,
        resources=resources,
        extra_arguments=["--log-level=ERROR"],
    )
    with pytest.MonkeyPatch.context() as patch:
        fork_kernels(patch)
        client.execute(env=environment | {"ECGNB_HOME": str(folder)})
    return notebook


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text_of(notebook: nbformat.NotebookNode) -> str:
    texts = []
    for output in outputs_of(notebook):
        plain = output.get("data", {}).get("text/plain", "")
        texts.append(output.get("text") or plain)
    return "\n".join(texts)


def figures_of(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def stderr_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for output in outputs_of(notebook) if output.get("name") == "stderr"]


def check_again(
    notebook: nbformat.NotebookNode, folder: Path, environment: dict[str, str]
) -> None:
    """Let nbval compare every output with that of a fresh kernel."""
    nbformat.write(notebook, folder / "again.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "pytest.ini",
        "-p",
        "no:cacheprovider",
        "--nbval",
    ]
    command += ["--nbval-current-env", "--nbval-cell-timeout=120", "again.ipynb"]
    environment = environment | {"ECGNB_HOME": str(folder)}
    process = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert process.returncode == 0, process.stdout[-3000:]
