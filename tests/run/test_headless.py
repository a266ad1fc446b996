"""Notebooks without anybody in front of them: through the command, through
`run_notebook`, through plain papermill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from commands import fork_kernels

import ecgnb
from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.run import session
from ecgnb.run.headless import check_parameters, notebook_parameters, run_notebook

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
MASTER = NOTEBOOKS / "master_pipeline.ipynb"
PREDICT = NOTEBOOKS / "predict_recording.ipynb"


def environment(home: Path) -> dict[str, str]:
    """An environment without parameters of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ECGNB_")
    }
    return kept | {
        "ECGNB_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONUTF8": "1",
    }


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(
        output.text for output in cell.outputs if output.output_type == "stream"
    )


def write_notebook(
    path: Path,
    *sources: str,
    parameters: str | None = "X = 1",
    metadata: dict | None = None,
) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        cells.insert(
            0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        )
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata or {}), path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path / "home"


class TestBeforeItStarts:
    def test_an_unknown_name_is_refused_with_the_nearest_one(self, home: Path) -> None:
        with pytest.raises(
            ConfigError,
            match=r"master_pipeline.ipynb has no parameter 'EPOCH' .* Did you mean EPOCHS",
        ):
            run_notebook({"EPOCH": 3}, MASTER)
        with pytest.raises(
            ConfigError,
            match=r"predict_recording.ipynb has no parameter 'LR' .* RECORDING, RUN, FS",
        ):
            run_notebook({"LR": 3}, PREDICT)
        assert not list(home.iterdir())

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("EPOCHS", "three", "EPOCHS is 'three'"),
            ("EPOCHS", 1.5, "EPOCHS is 1.5"),
            ("DRY_RUN", "yes", "DRY_RUN is 'yes'; it needs True or False"),
            (
                "PROFILE",
                "tiny",
                "PROFILE is 'tiny'; choose one of 'smoke', 'medium', 'full'",
            ),
            ("LABEL_ORDER", 5, "LABEL_ORDER is 5"),
            ("MODEL_OPTIONS", "{width: 3}", "no valid JSON"),
            ("LR", -1.0, "LR|lr"),
        ],
    )
    def test_a_wrong_value_is_refused(
        self, home: Path, name: str, value: object, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            run_notebook({name: value}, MASTER)
        assert not list(home.iterdir())

    def test_text_is_read_as_the_parameters_type(self) -> None:
        known = notebook_parameters(MASTER)
        given = {
            "DRY_RUN": "true",
            "EPOCHS": "2",
            "LR": "3e-4",
            "LABEL_ORDER": "MI,NORM",
            "MODEL_OPTIONS": '{"a": [1]}',
        }
        checked = check_parameters(given, known, "here")
        assert checked == {
            "DRY_RUN": True, "EPOCHS": 2, "LR": 3e-4, "LABEL_ORDER": ["MI", "NORM"], "MODEL_OPTIONS": {"a": [1]},
        }  # fmt: skip
        assert check_parameters(
            {"RECORDING": "100", "FS": "360"}, notebook_parameters(PREDICT), "here"
        ) == {
            "RECORDING": "100",
            "FS": 360.0,
        }

    def test_a_parameter_that_the_cell_does_not_name_is_taken(self) -> None:
        known = notebook_parameters(MASTER)
        assert "BOOTSTRAP_RESAMPLES" not in known
        assert check_parameters({"BOOTSTRAP_RESAMPLES": "20"}, known, "here") == {
            "BOOTSTRAP_RESAMPLES": 20
        }

    def test_files_that_are_no_notebook_with_parameters(
        self, home: Path, tmp_path: Path
    ) -> None:
        text = tmp_path / "text.ipynb"
        text.write_text("# no notebook", encoding="utf-8")
        empty = write_notebook(tmp_path / "empty.ipynb", "1 + 1", parameters=None)
        derived = write_notebook(
            tmp_path / "derived.ipynb", parameters="X = 1\nY = X + 1"
        )
        broken = write_notebook(tmp_path / "broken.ipynb", parameters="X = = 1")
        for path, message in (
            (tmp_path / "missing.ipynb", "There is no notebook"),
            (text, "is no readable notebook"),
            (empty, "has no cell tagged 'parameters'"),
            (derived, "The parameters cell of .* cannot be read"),
            (broken, "The parameters cell of .* cannot be read"),
        ):
            with pytest.raises(ConfigError, match=message):
                run_notebook({}, path)
        assert not list(home.iterdir())


@pytest.mark.notebook
class TestSmallNotebooks:
    def test_a_failing_cell_is_named_and_the_executed_copy_holds_the_error(
        self, home: Path, tmp_path: Path
    ) -> None:
        notebook = write_notebook(
            tmp_path / "failing.ipynb",
            "print('before')",
            "raise ValueError(f'X is {X}')",
            "print('never')",
        )
        with pytest.raises(EcgnbError) as failure:
            run_notebook({"X": 7}, notebook)
        target = home / "logs" / "failing.ipynb"
        assert str(failure.value) == (
            "Cell In [4] of failing.ipynb failed: ValueError: X is 7\n"
            f"The executed notebook, up to that cell, is {target}."
        )
        cells = {cell.source: cell for cell in code_cells(target)}
        assert printed(cells["print('before')"]) == "before\n"
        (error,) = cells["raise ValueError(f'X is {X}')"].outputs
        assert (error.output_type, error.ename, error.evalue) == (
            "error",
            "ValueError",
            "X is 7",
        )
        assert not cells["print('never')"].outputs
        assert not code_cells(notebook)[1].outputs, "the notebook itself stays as it is"

    def test_a_kernel_that_dies_is_told(self, home: Path, tmp_path: Path) -> None:
        notebook = write_notebook(
            tmp_path / "dying.ipynb", "print('before')", "import os; os._exit(9)"
        )
        with pytest.raises(
            EcgnbError, match=r"The kernel died in a cell of dying.ipynb"
        ):
            run_notebook({}, notebook, tmp_path / "out" / "dying.ipynb")
        assert printed(code_cells(tmp_path / "out" / "dying.ipynb")[1]) == "before\n"

    def test_the_display_is_the_users_choice_and_given_back(
        self,
        home: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        notebook = write_notebook(
            tmp_path / "mode.ipynb",
            "from ecgnb.core.progress import mode\nprint(mode())",
        )
        monkeypatch.setenv("JPY_SESSION_NAME", "as in JupyterLab")
        for chosen, seen in (("quiet", "quiet"), ("", "lines")):
            monkeypatch.setenv("ECGNB_PROGRESS", chosen)
            run_notebook({}, notebook)
            assert capsys.readouterr().out == f"{seen}\n"
            assert os.environ["ECGNB_PROGRESS"] == chosen

    def test_papermill_with_an_unknown_parameter_fails_and_names_the_nearest(
        self, tmp_path: Path
    ) -> None:
        done = papermill(tmp_path, MASTER, PROFILE="smoke", EPOCH="3")
        assert done.returncode != 0
        assert (
            "There is no parameter 'EPOCH' (value 3). Did you mean EPOCHS"
            in done.stderr
        )
        assert not (tmp_path / "artifacts").exists()

    def test_papermill_with_the_text_true(self, tmp_path: Path) -> None:
        """papermill knows `True` alone; `-p DRY_RUN true` is a text to it."""
        notebook = write_notebook(
            tmp_path / "dry.ipynb",
            "import ecgnb\nprint(ecgnb.open_run(globals()).config.training.dry_run)",
            parameters="DRY_RUN = None",
            metadata={
                "kernelspec": {
                    "name": "python3",
                    "display_name": "Python 3",
                    "language": "python",
                }
            },
        )
        done = papermill(tmp_path, notebook, DRY_RUN="true")
        assert done.returncode == 0, done.stderr
        assert printed(code_cells(tmp_path / "out.ipynb")[-1]) == "True\n"


def papermill(
    home: Path, notebook: Path, **parameters: str
) -> subprocess.CompletedProcess[str]:
    """Run papermill's own command in a project; the executed notebook is ``out.ipynb``
    there."""
    options = [
        part for name, value in parameters.items() for part in ("-p", name, value)
    ]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            str(notebook),
            str(home / "out.ipynb"),
            "--no-progress-bar",
            *options,
        ],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


@dataclass
class Finished:
    """A master notebook that `ecgnb run` has executed.

    Attributes:
        home: the project's folder.
        lines: what it printed.
        errors: what it printed to stderr.
        alive: whether it was still running when the first epoch's line arrived.
        code: its exit code.
    """

    home: Path
    lines: list[str]
    errors: str
    alive: bool
    code: int

    @property
    def run_folder(self) -> Path:
        (file,) = (self.home / "artifacts" / "runs").glob("*/config.json")
        return file.parent

    @property
    def executed(self) -> Path:
        return self.home / "logs" / f"{self.run_folder.name}.ipynb"

    def results(self) -> dict[Path, int]:
        """When each result was written; the cells of the report and the environment
        write theirs each time."""
        written_anew = {"report.html", "report.json", "environment.json"}
        files = (
            path for path in (self.home / "artifacts").rglob("*") if path.is_file()
        )
        return {
            path: path.stat().st_mtime_ns
            for path in files
            if path.name not in written_anew
        }


@pytest.fixture(scope="module")
def given(small_parameters: dict) -> dict[str, str]:
    """Parameters of a very small main job, as the command line gives them."""
    small = {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in small_parameters.items()
    }
    return small | {"PREPROCESS_LIMIT": "60"}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The master notebook with two of its figures; `tests/notebooks` draw them all."""
    notebook = nbformat.read(MASTER, as_version=4)
    cells = []
    for cell in notebook.cells:
        draws = "ecgnb.show." in cell.source and cell.cell_type == "code"
        if not draws or re.search(r"show\.(roc|explanation)\(", cell.source):
            cells.append(cell)
    notebook.cells = cells
    path = tmp_path_factory.mktemp("notebooks") / MASTER.name
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, str], master: Path
) -> Finished:
    """Run the master notebook once with the `ecgnb` command, reading what it prints
    while it runs."""
    home = tmp_path_factory.mktemp("headless")
    options = [part for name, value in given.items() for part in ("-p", name, value)]
    with (home / "stderr.txt").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecgnb", "run", str(master), *options],
            cwd=home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        lines, alive = _listen(process)
        code = process.wait(timeout=60)
    return Finished(
        home, lines, (home / "stderr.txt").read_text(encoding="utf-8"), alive, code
    )


def _listen(process: subprocess.Popen[str]) -> tuple[list[str], bool]:
    """Read line by line to the end; tell whether the process was alive at the first
    epoch's line."""
    lines: list[str] = []
    alive = False
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        alive = alive or (line.startswith("epoch 1/") and process.poll() is None)
    process.stdout.close()
    return lines, alive


@pytest.mark.notebook
class TestTheMasterNotebook:
    def test_it_finishes_and_says_where_everything_lies(
        self, finished: Finished
    ) -> None:
        assert finished.code == 0, finished.errors
        assert f"executed notebook  {finished.executed}" in finished.lines
        assert (
            f"metrics            {finished.run_folder / 'metrics.json'}"
            in finished.lines
        )
        assert finished.errors == ""

    def test_progress_arrives_line_by_line_while_it_trains(
        self, finished: Finished
    ) -> None:
        assert finished.alive
        epochs = [
            line.split(":")[0] for line in finished.lines if line.startswith("epoch ")
        ]
        assert epochs == ["epoch 1/2", "epoch 2/2"]

    def test_the_executed_notebook_has_every_output(self, finished: Finished) -> None:
        cells = code_cells(finished.executed)
        tags = [
            set(cell.metadata.tags) & {"parameters", "injected-parameters"}
            for cell in cells
        ]
        silent = [
            cell.source
            for cell, tag in zip(cells, tags, strict=True)
            if not cell.outputs and not tag
        ]
        assert silent == [] and len([tag for tag in tags if not tag]) >= 14
        kinds = [output.output_type for cell in cells for output in cell.outputs]
        assert "error" not in kinds
        assert kinds.count("display_data") == 2, "a figure each"
        assert (
            sum(
                "image/png" in output.get("data", {})
                for cell in cells
                for output in cell.outputs
            )
            == 2
        )

    def test_the_results_are_there_and_agree_with_what_it_shows(
        self, finished: Finished
    ) -> None:
        metrics = json.loads(
            (finished.run_folder / "metrics.json").read_text(encoding="utf-8")
        )
        report = (finished.run_folder / "report.html").read_text(encoding="utf-8")
        assert f"{metrics['headline']['macro_auroc']:.3f}" in report
        (cell,) = (
            cell
            for cell in code_cells(finished.executed)
            if "ecgnb.evaluate(run)" in cell.source
        )
        shown = cell.outputs[-1].data["text/plain"]
        assert f"{metrics['headline']['accuracy']:.6f}" in shown
        assert (finished.run_folder / "bundle" / "model.safetensors").is_file()
        written = (finished.run_folder / "config.json").read_text(encoding="utf-8")
        config = json.loads(written)["parameters"]
        assert json.loads(written)["sources"]["EPOCHS"] == "notebook"
        assert (
            config["PREPROCESS_LIMIT"],
            config["EPOCHS"],
            config["BOOTSTRAP_RESAMPLES"],
        ) == (60, 2, 50)

    def test_plain_papermill_finds_the_run_done_and_changes_nothing(
        self, finished: Finished, given: dict[str, str], master: Path
    ) -> None:
        before = finished.results()
        done = papermill(finished.home, master, **given)
        assert done.returncode == 0, done.stderr
        assert finished.results() == before
        (cell,) = (
            cell
            for cell in code_cells(finished.home / "out.ipynb")
            if 'when="smoke"' in cell.source
        )
        line = f"Run {finished.run_folder.name}, model resnet1d.\n"
        assert printed(cell) == line, "nothing was trained"

    def test_predict_recording_on_a_recording_of_the_test_split(
        self, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cells = self._predict(finished, monkeypatch, {}, tmp_path / "predicted.ipynb")
        table = pd.read_csv(finished.run_folder / "predictions.csv")
        predicted, shown = cells[-2:]
        assert f"{table['record_id'][0]}" in predicted.outputs[-1].data["text/plain"]
        assert [output.output_type for output in shown.outputs] == [
            "display_data",
            "execute_result",
        ]
        assert "image/png" in shown.outputs[0].data

    def test_predict_recording_on_a_csv_file_of_ones_own(
        self, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = pd.read_csv(finished.run_folder / "predictions.csv")
        recording = ecgnb.read_recording(table["path"][0])
        columns = dict(
            zip(recording.leads, np.round(1000 * recording.signal), strict=True)
        )
        pd.DataFrame(columns).astype(int).to_csv(tmp_path / "mine.csv", index=False)
        parameters = {
            "RECORDING": str(tmp_path / "mine.csv"),
            "FS": "500",
            "UNITS": "uV",
        }
        cells = self._predict(
            finished, monkeypatch, parameters, tmp_path / "predicted.ipynb"
        )
        shown = cells[-1].outputs[-1].data["text/html"]
        assert (
            "<td>mine</td>" in shown and f"<td>{table['prediction'][0]}</td>" in shown
        )
        numbers = np.array(
            [float(text) for text in re.findall(r"<td>(\d\.\d+)</td>", shown)]
        )
        for probability in table.filter(regex="^probability_").iloc[0]:
            assert np.abs(numbers - probability).min() < 0.005, (
                "the file is rounded to microvolts, no more"
            )

    @staticmethod
    def _predict(
        finished: Finished,
        monkeypatch: pytest.MonkeyPatch,
        parameters: dict[str, str],
        output: Path,
    ) -> list[nbformat.NotebookNode]:
        monkeypatch.setenv("ECGNB_HOME", str(finished.home))
        fork_kernels(monkeypatch)
        assert run_notebook(parameters, PREDICT, output) == output
        return code_cells(output)
