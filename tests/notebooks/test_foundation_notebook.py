"""The notebook of foundation models: on a stand-in, and on a checkpoint of the original trainer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "foundation_models.ipynb"

pytestmark = pytest.mark.notebook


def executed(folder: Path, environment: dict[str, str], **parameters: object) -> nbformat.NotebookNode:
    """Run the notebook in a project of its own."""
    (folder / "artifacts").mkdir(exist_ok=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells[1].source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=300, resources=resources, extra_arguments=["--log-level=ERROR"])
    client.execute(env=environment | {"ECGNB_HOME": str(folder)})
    return notebook


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def figures_of(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_foundation_notebook_gives_the_same_again(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    """Once to train, once to read what is there, and then nbval compares a fresh kernel with that."""
    quick = {"PREPROCESS_LIMIT": 80, "EPOCHS": 1}
    first = executed(tmp_path, clean_environment, **quick)
    assert "trained from scratch" in text_of(first) and "linear probe, random encoder" in text_of(first)
    assert figures_of(first) == 2
    assert not [o for cell in first.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    nbformat.write(executed(tmp_path, clean_environment, **quick), tmp_path / "again.ipynb")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:cacheprovider", "--nbval"]
    command += ["--nbval-current-env", "--nbval-cell-timeout=120", "again.ipynb"]
    environment = clean_environment | {"ECGNB_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_foundation_notebook_on_a_real_checkpoint_and_ptbxl(
    tmp_path: Path, golden_dir: Path, data_dir: Path, clean_environment: dict[str, str]
) -> None:
    record = next((data_dir / "ptbxl" / "records500").rglob("*.hea"))
    notebook = executed(
        tmp_path,
        clean_environment,
        CHECKPOINT=str(golden_dir / "ecg_fm" / "pretrained.pt"),
        DATASET="ptbxl",
        DATASET_DIR=str(data_dir / "ptbxl"),
        PREPROCESS_LIMIT=0,
        EPOCHS=1,
        RECORDING=str(record),
    )
    text = text_of(notebook)
    assert "wav2vec2_cmsc" in text and "114,344" in text.replace("114344", "114,344")
    assert "(16, 64)" in text and "fine-tuned" in text and figures_of(notebook) == 2
