"""The notebooks that people open: as their sources, without outputs, short, and with parameters that exist."""

from __future__ import annotations

import ast
import builtins
import unicodedata
from pathlib import Path

import nbformat
import pytest

from ecgnb.config import parameter_types
from ecgnb.headless import notebook_parameters

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
MASTER = next(path for path in NOTEBOOKS if path.stem == "master_pipeline")
#: Lines of code in a cell, the parameters cell apart.
LONGEST_CELL = 6
#: What a person may rely on finding in the master notebook's parameters cell.
PROMISED = {
    "data": ["DATASET_DIR", "DATASET", "MAPPING_CSV", "LABEL_SET", "LABEL_ORDER", "TASK", "PREPROCESS_LIMIT"],
    "preparation": ["TARGET_FS", "TARGET_SAMPLES", "LEADS"],
    "training": ["PROFILE", "SPLIT", "MODEL", "MODEL_OPTIONS", "AUGMENT", "EPOCHS", "LR", "WEIGHT_DECAY", "SCHEDULER"],
    "steps": ["BATCH_SIZE_CPU", "BATCH_SIZE_GPU", "GRAD_ACCUM_STEPS", "CLIP_NORM", "MIXED_PRECISION", "DEVICES"],
    "the rest": ["EARLY_STOPPING_PATIENCE", "CLASS_WEIGHTS", "SEED", "DRY_RUN"],
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def test_they_are_as_their_sources(builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.write_or_check(check=True) == 0, capsys.readouterr().out + "run `make notebooks`"
    sources = (Path(builder.__file__).parent / "source").glob("*.py")
    assert {path.stem for path in sources} == {path.stem for path in NOTEBOOKS}


@each_notebook
def test_a_notebook_is_valid_and_holds_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell.source for cell in code_cells(path) if cell.outputs or cell.execution_count is not None]
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_one_cell_holds_the_parameters_as_literals_with_a_word_on_each(path: Path) -> None:
    (cell,) = (cell for cell in code_cells(path) if is_parameters(cell))
    assert code_cells(path)[0] == cell
    statements = ast.parse(cell.source).body
    assert all(isinstance(statement, ast.Assign) for statement in statements)
    names = [statement.targets[0].id for statement in statements]
    assert names == [name for name in dict.fromkeys(names) if name.isupper()]
    assert list(notebook_parameters(path)) == names
    for statement in statements:
        ast.literal_eval(statement.value)


def test_the_masters_parameters_exist_and_leave_the_choice_to_the_profile() -> None:
    parameters = notebook_parameters(MASTER)
    assert set(parameters) <= set(parameter_types())
    assert {name for names in PROMISED.values() for name in names} <= set(parameters)
    assert {name: value for name, value in parameters.items() if value is not None} == {"PROFILE": "smoke"}


@each_notebook
def test_cells_are_short(path: Path) -> None:
    for cell in code_cells(path):
        if not is_parameters(cell):
            lines = [line for line in cell.source.splitlines() if line.strip()]
            assert len(lines) <= LONGEST_CELL, cell.source


def test_no_cell_of_the_master_needs_what_another_cell_made() -> None:
    """After a restart of the kernel any cell may be the first one that is run."""
    for cell in code_cells(MASTER):
        nodes = list(ast.walk(ast.parse(cell.source)))
        made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        made |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert used <= made | set(dir(builtins)), cell.source


@each_notebook
def test_there_are_no_emojis(path: Path) -> None:
    text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert not [letter for letter in text if unicodedata.category(letter) in ("So", "Cs", "Co") or ord(letter) > 0xFFFF]
