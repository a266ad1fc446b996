"""The reference notebooks: nbval compares every output with the stored one, and a changed number fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

REFERENCE = Path(__file__).parent / "reference"
NOTEBOOKS = sorted(REFERENCE.glob("*.ipynb"))

Nbval = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture(scope="module")
def nbval(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Nbval:
    """Run nbval in strict mode in a process of its own; give its exit code and what became of each cell."""

    def run(*notebooks: Path) -> tuple[int, dict[str, str]]:
        folder = tmp_path_factory.mktemp("nbval")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # this repository's options are not nbval's
        (folder / "tmp").mkdir()
        command = [sys.executable, "-m", "pytest", "-c", str(folder / "pytest.ini"), "-p", "no:cacheprovider"]
        options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", f"--junitxml={folder / 'cells.xml'}"]
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
        assert not list((folder / "tmp").rglob("artifacts")), "a reference notebook left its project behind"
        return done.returncode, _outcomes(folder / "cells.xml")

    return run


def _outcomes(report: Path) -> dict[str, str]:
    """Map "<notebook> Cell <number>" to passed, failure, error or skipped."""
    bad = ("failure", "error", "skipped")
    return {
        f"{case.get('classname')} {case.get('name')}": next((child.tag for child in case if child.tag in bad), "passed")
        for case in ElementTree.parse(report).getroot().iter("testcase")
    }


def code_cells(notebook: Path | nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    read = nbformat.read(notebook, as_version=4) if isinstance(notebook, Path) else notebook
    return [cell for cell in read.cells if cell.cell_type == "code"]


@pytest.mark.notebook
def test_every_output_is_as_it_was(nbval: Nbval) -> None:
    code, outcomes = nbval(*NOTEBOOKS)
    assert {cell: outcome for cell, outcome in outcomes.items() if outcome != "passed"} == {}
    assert code == 0
    assert len(outcomes) == sum(len(code_cells(notebook)) for notebook in NOTEBOOKS) >= 30


@pytest.mark.notebook
def test_a_changed_number_fails_its_cell_and_no_other(nbval: Nbval, tmp_path: Path) -> None:
    """One digit each: in printed text, in a table as people see it, in the same table as text."""
    notebook = nbformat.read(REFERENCE / "evaluation.ipynb", as_version=4)
    cells = code_cells(notebook)
    printed = _cell_with(cells, "fit_temperature(logits")
    cells[printed].outputs[0].text = _change_a_digit(cells[printed].outputs[0].text, r"(temperature \d\.\d\d\d)(\d)")
    shown = _cell_with(cells, "n_resamples=200")
    data = cells[shown].outputs[0].data
    data["text/html"] = _change_a_digit(data["text/html"], r"(<td>0\.\d\d)(\d)")
    plain = _cell_with(cells, "plot_precision_recall")
    data = cells[plain].outputs[0].data
    data["text/plain"] = _change_a_digit(data["text/plain"], r"(AF +0\.\d\d\d)(\d)")
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    code, outcomes = nbval(tmp_path / "changed.ipynb")
    failed = {cell for cell, outcome in outcomes.items() if outcome != "passed"}
    assert failed == {f"changed.ipynb Cell {number}" for number in (printed, shown, plain)}
    assert code == 1


def _cell_with(cells: list[nbformat.NotebookNode], text: str) -> int:
    (found,) = (number for number, cell in enumerate(cells) if text in cell.source and "import" not in cell.source)
    return found


def _change_a_digit(text: str, pattern: str) -> str:
    changed, times = re.subn(pattern, lambda m: m[1] + str((int(m[2]) + 1) % 10), text, count=1)
    assert times == 1 and changed != text
    return changed


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
class TestEachReference:
    def test_it_is_not_stripped(self, notebook: Path) -> None:
        """nbval compares nothing where a cell has no execution count, and says so to nobody."""
        cells = code_cells(notebook)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        silent = [cell.source for cell in cells if not cell.outputs]
        assert silent == [cells[0].source, *("home.cleanup()" for cell in cells if cell.source == "home.cleanup()")]

    def test_nothing_is_left_out_of_the_comparison(self, notebook: Path) -> None:
        text = notebook.read_text(encoding="utf-8").lower()
        assert "nbval" not in re.sub(r"nbval compares", "", text)
        assert not [cell for cell in code_cells(notebook) if cell.metadata.get("tags")]

    def test_its_outputs_are_the_same_on_every_machine(self, notebook: Path) -> None:
        for cell in code_cells(notebook):
            for output in cell.outputs:
                assert output.output_type != "error" and output.get("name") != "stderr", cell.source
                text = "".join([output.get("text", ""), *output.get("data", {}).values()])
                assert not re.search(r"0x[0-9a-f]{6}|/\w+/\w+|[A-Z]:\\|\d{4}-\d\d-\d\d", text), text

    def test_it_is_as_its_source(self, notebook: Path, builder) -> None:
        built = builder.build(REFERENCE / "source" / f"{notebook.stem}.py")
        stored = nbformat.read(notebook, as_version=4)
        assert stored.metadata == built.metadata
        told = [
            [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in each.cells] for each in (stored, built)
        ]
        assert told[0] == told[1], "run `make reference` and look at the difference"


def test_every_source_has_a_notebook() -> None:
    assert {path.stem for path in (REFERENCE / "source").glob("*.py")} == {path.stem for path in NOTEBOOKS}
