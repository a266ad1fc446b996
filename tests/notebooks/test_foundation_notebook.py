"""The notebook of foundation models: on a stand-in, and on a checkpoint of the original
trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_runs import executed, figures_of, stderr_of, text_of

NAME = "foundation_models"

pytestmark = [pytest.mark.notebook, pytest.mark.slow]


def test_foundation_notebook_on_a_stand_in(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    """The reference notebook of the foundation models repeats its numbers."""
    notebook = executed(
        NAME, tmp_path, clean_environment, PREPROCESS_LIMIT=80, EPOCHS=1
    )
    text = text_of(notebook)
    assert "trained from scratch" in text
    assert "linear probe, random encoder" in text
    assert figures_of(notebook) == 2
    assert not stderr_of(notebook)


def test_foundation_notebook_on_a_checkpoint_of_the_original_and_ptbxl(
    tmp_path: Path, golden_dir: Path, data_dir: Path, clean_environment: dict[str, str]
) -> None:
    notebook = executed(
        NAME,
        tmp_path,
        clean_environment,
        CHECKPOINT=str(golden_dir / "ecg_fm" / "pretrained.pt"),
        DATASET="ptbxl",
        DATASET_DIR=str(data_dir / "ptbxl"),
        PREPROCESS_LIMIT=0,
        EPOCHS=1,
        RECORDING=str(next((data_dir / "ptbxl" / "records500").rglob("*.hea"))),
    )
    text = text_of(notebook)
    assert (
        "wav2vec2_cmsc" in text
        and "114344" in text
        and "(16, 64)" in text
        and "fine-tuned" in text
    )
    assert figures_of(notebook) == 2 and not stderr_of(notebook)
