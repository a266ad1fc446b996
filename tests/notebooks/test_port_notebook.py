"""The notebook that ports a Keras model: with the model of the project, and with a
published one."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from notebook_runs import (
    ROOT,
    check_again,
    executed,
    figures_of,
    stderr_of,
    text_of,
)

pytestmark = pytest.mark.notebook


def ported(
    folder: Path, environment: dict[str, str], **parameters: str
) -> nbformat.NotebookNode:
    """Run the notebook beside the examples."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    return executed("port_keras", folder, environment, **parameters)


def test_port_notebook_gives_the_same_again(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    """Executed, then compared with itself by nbval in a fresh kernel: every output is a
    function of the files."""
    notebook = ported(tmp_path, clean_environment)
    text = text_of(notebook)
    assert "PASSED: 34 of 34 rows agree" in text and "BBB" in text and "share" in text
    assert figures_of(notebook) == 2 and not stderr_of(notebook)
    for file in ("model.py", "model.safetensors", "port.json", "report.html"):
        assert (tmp_path / "artifacts/ports/keras_bbb" / file).is_file()
    check_again(notebook, tmp_path, clean_environment)


def test_port_notebook_on_the_published_pathology_model(
    tmp_path: Path, golden_dir: Path, clean_environment: dict[str, str]
) -> None:
    folder = golden_dir / "keras" / "pathology_avb"
    notebook = ported(
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
    assert "output 0 is saturated" in text, (
        "the notebook must name outputs that prove nothing"
    )
    assert "CC BY 4.0" in text and "no AVB" in text
