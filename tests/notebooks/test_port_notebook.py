"""The notebook that ports a Keras model: with the model of the project, and with a published one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "port_keras.ipynb"

pytestmark = pytest.mark.notebook


def executed(folder: Path, environment: dict[str, str], **parameters: str) -> nbformat.NotebookNode:
    """Run the notebook in a project of its own, beside the examples."""
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells[1].source += f"\n{given}"
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=300, resources=resources, extra_arguments=["--log-level=ERROR"])
    client.execute(env=environment | {"ECGNB_HOME": str(folder)})
    return notebook


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_port_notebook_gives_the_same_again(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    """Executed, then compared with itself by nbval in a fresh kernel: every output is a function of the files."""
    notebook = executed(tmp_path, clean_environment)
    text = text_of(notebook)
    assert "PASSED: 34 of 34 rows agree" in text and "BBB" in text and "share" in text
    figures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(figures) == 2
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    for file in ("model.py", "model.safetensors", "port.json", "report.html"):
        assert (tmp_path / "artifacts/ports/keras_bbb" / file).is_file()
    nbformat.write(notebook, tmp_path / "again.ipynb")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:cacheprovider", "--nbval"]
    command += ["--nbval-current-env", "--nbval-cell-timeout=120", "again.ipynb"]
    environment = clean_environment | {"ECGNB_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:]


def test_port_notebook_on_the_published_pathology_model(
    tmp_path: Path, golden_dir: Path, clean_environment: dict[str, str]
) -> None:
    folder = golden_dir / "keras" / "pathology_avb"
    notebook = executed(
        tmp_path,
        clean_environment,
        KERAS_MODEL=str(folder / "model.json"),
        REFERENCE=str(folder / "golden.npz"),
        CONTRACT="pathology_avb",
        METHOD="lrp_sign_epsilon_std",
        PORT_DIR="artifacts/ports/avb",
    )
    text = text_of(notebook)
    assert "64,386" in text and "PASSED: 34 of 34 rows agree" in text
    assert "output 0 is saturated" in text, "the notebook must say what proves nothing"
    assert "CC BY 4.0" in text and "no AVB" in text
