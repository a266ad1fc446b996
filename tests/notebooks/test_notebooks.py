"""The notebooks: nbval compares the reference ones with what is stored; the others are
checked as they stand."""

from __future__ import annotations

import ast
import builtins
import re
import shutil
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from ecgnb.run.config import parameter_types
from ecgnb.run.headless import notebook_parameters

REFERENCE = Path(__file__).parent / "reference"
REFERENCES = sorted(REFERENCE.glob("*.ipynb"))
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
MASTER = next(path for path in NOTEBOOKS if path.stem == "master_pipeline")
#: Lines of code in a cell, the parameters cell apart.
LONGEST_CELL = 6
#: What a person may rely on finding in the master notebook's parameters cell.
DOCUMENTED = {
    "data": [
        "DATASET_DIR",
        "DATASET",
        "MAPPING_CSV",
        "RECORD_COLUMN",
        "LABEL_COLUMN",
        "PATIENT_COLUMN",
        "ONE_HOT_COLUMNS",
        "LABEL_SET",
        "LABEL_ORDER",
        "TASK",
        "PREPROCESS_LIMIT",
    ],
    "preparation": ["TARGET_FS", "TARGET_SAMPLES", "LEADS"],
    "training": [
        "PROFILE",
        "SPLIT",
        "MODEL",
        "MODEL_OPTIONS",
        "AUGMENT",
        "EPOCHS",
        "LR",
        "WEIGHT_DECAY",
        "SCHEDULER",
    ],
    "steps": [
        "BATCH_SIZE_CPU",
        "BATCH_SIZE_GPU",
        "GRAD_ACCUM_STEPS",
        "CLIP_NORM",
        "MIXED_PRECISION",
        "DEVICES",
    ],
    "the rest": ["EARLY_STOPPING_PATIENCE", "CLASS_WEIGHTS", "SEED", "DRY_RUN"],
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

Nbval = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture(scope="module")
def nbval(
    tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]
) -> Nbval:
    """Run nbval in strict mode in a process of its own; give its exit code and what
    became of each cell."""

    def run(*notebooks: Path) -> tuple[int, dict[str, str]]:
        folder = tmp_path_factory.mktemp("nbval")
        (folder / "pytest.ini").write_text(
            "[pytest]\n", encoding="utf-8"
        )  # this repository's options are not nbval's
        (folder / "tmp").mkdir()
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(folder / "pytest.ini"),
            "-p",
            "no:cacheprovider",
        ]
        options = [
            "--nbval",
            "--nbval-current-env",
            "--nbval-cell-timeout=120",
            f"--junitxml={folder / 'cells.xml'}",
        ]
        copies = [shutil.copy(notebook, folder) for notebook in notebooks]
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "tmp"))
        done = subprocess.run(
            [*command, *options, *copies],
            cwd=folder,
            env=clean_environment | temporary,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=400,
        )
        assert (folder / "cells.xml").is_file(), done.stdout + done.stderr
        assert not list((folder / "tmp").rglob("artifacts")), (
            "a reference notebook left its project behind"
        )
        return done.returncode, _outcomes(folder / "cells.xml")

    return run


def _outcomes(report: Path) -> dict[str, str]:
    """Map "<notebook> Cell <number>" to passed, failure, error or skipped."""
    bad = ("failure", "error", "skipped")
    return {
        f"{case.get('classname')} {case.get('name')}": next(
            (child.tag for child in case if child.tag in bad), "passed"
        )
        for case in ElementTree.parse(report).getroot().iter("testcase")
    }


def code_cells(notebook: Path | nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    read = (
        nbformat.read(notebook, as_version=4)
        if isinstance(notebook, Path)
        else notebook
    )
    return [cell for cell in read.cells if cell.cell_type == "code"]


@pytest.mark.notebook
def test_every_output_is_as_it_was(nbval: Nbval) -> None:
    code, outcomes = nbval(*REFERENCES)
    assert {
        cell: outcome for cell, outcome in outcomes.items() if outcome != "passed"
    } == {}
    assert code == 0
    assert (
        len(outcomes) == sum(len(code_cells(notebook)) for notebook in REFERENCES) >= 30
    )


@pytest.mark.notebook
def test_a_changed_number_fails_its_cell_and_no_other(
    nbval: Nbval, tmp_path: Path
) -> None:
    """One digit each: in printed text, in a table as people see it, in the same table
    as text."""
    notebook = nbformat.read(REFERENCE / "evaluation.ipynb", as_version=4)
    cells = code_cells(notebook)
    printed = _cell_with(cells, "fit_temperature(logits")
    cells[printed].outputs[0].text = _change_a_digit(
        cells[printed].outputs[0].text, r"(temperature \d\.\d\d\d)(\d)"
    )
    shown = _cell_with(cells, "n_resamples=200")
    data = cells[shown].outputs[0].data
    data["text/html"] = _change_a_digit(data["text/html"], r"(<td>0\.\d\d)(\d)")
    plain = _cell_with(cells, "plot_precision_recall")
    data = cells[plain].outputs[0].data
    data["text/plain"] = _change_a_digit(data["text/plain"], r"(AF +0\.\d\d\d)(\d)")
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    code, outcomes = nbval(tmp_path / "changed.ipynb")
    failed = {cell for cell, outcome in outcomes.items() if outcome != "passed"}
    assert failed == {
        f"changed.ipynb Cell {number}" for number in (printed, shown, plain)
    }
    assert code == 1


def _cell_with(cells: list[nbformat.NotebookNode], text: str) -> int:
    (found,) = (
        number
        for number, cell in enumerate(cells)
        if text in cell.source and "import" not in cell.source
    )
    return found


def _change_a_digit(text: str, pattern: str) -> str:
    changed, times = re.subn(
        pattern, lambda m: m[1] + str((int(m[2]) + 1) % 10), text, count=1
    )
    assert times == 1 and changed != text
    return changed


@pytest.mark.parametrize("notebook", REFERENCES, ids=lambda path: path.stem)
class TestEachReference:
    def test_it_is_not_stripped(self, notebook: Path) -> None:
        """nbval compares nothing where a cell has no execution count, and says so to
        nobody."""
        cells = code_cells(notebook)
        assert [cell.execution_count for cell in cells] == list(
            range(1, len(cells) + 1)
        )
        silent = [cell.source for cell in cells if not cell.outputs]
        assert silent == [
            cells[0].source,
            *("home.cleanup()" for cell in cells if cell.source == "home.cleanup()"),
        ]

    def test_nothing_is_left_out_of_the_comparison(self, notebook: Path) -> None:
        text = notebook.read_text(encoding="utf-8").lower()
        assert "nbval" not in re.sub(r"nbval compares", "", text)
        assert not [cell for cell in code_cells(notebook) if cell.metadata.get("tags")]

    def test_its_outputs_are_the_same_on_every_machine(self, notebook: Path) -> None:
        for cell in code_cells(notebook):
            for output in cell.outputs:
                assert (
                    output.output_type != "error" and output.get("name") != "stderr"
                ), cell.source
                text = "".join(
                    [output.get("text", ""), *output.get("data", {}).values()]
                )
                assert not re.search(
                    r"0x[0-9a-f]{6}|/\w+/\w+|[A-Z]:\\|\d{4}-\d\d-\d\d", text
                ), text

    def test_it_is_as_its_source(self, notebook: Path, builder) -> None:
        built = builder.build(REFERENCE / "source" / f"{notebook.stem}.py")
        stored = nbformat.read(notebook, as_version=4)
        assert stored.metadata == built.metadata
        assert cells_of(stored) == cells_of(built), (
            "run `make reference` and look at the difference"
        )


def test_every_source_has_a_notebook() -> None:
    assert {path.stem for path in (REFERENCE / "source").glob("*.py")} == {
        path.stem for path in REFERENCES
    }


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple]:
    """Return the cells without their outputs."""
    return [
        (cell.id, cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells
    ]


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def test_they_are_as_their_sources(builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.write_or_check(check=True) == 0, (
        capsys.readouterr().out + "run `make notebooks`"
    )
    sources = (Path(builder.__file__).parent / "source").glob("*.py")
    assert {path.stem for path in sources} == {path.stem for path in NOTEBOOKS}


@each_notebook
def test_a_notebook_is_valid_and_holds_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [
        cell.source
        for cell in code_cells(path)
        if cell.outputs or cell.execution_count is not None
    ]
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_one_cell_holds_the_parameters_as_literals(
    path: Path,
) -> None:
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
    assert {name for names in DOCUMENTED.values() for name in names} <= set(parameters)
    assert {name: value for name, value in parameters.items() if value is not None} == {
        "PROFILE": "smoke"
    }


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
        made = {
            node.id
            for node in nodes
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        made |= {
            alias.name
            for node in nodes
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        used = {
            node.id
            for node in nodes
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        assert used <= made | set(dir(builtins)), cell.source


@each_notebook
def test_there_are_no_emojis(path: Path) -> None:
    text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert not [
        letter
        for letter in text
        if unicodedata.category(letter) in ("So", "Cs", "Co") or ord(letter) > 0xFFFF
    ]
