"""Where outputs go and where code, examples and notebooks are found."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import ecgnb
from ecgnb.core.errors import FileError
from ecgnb.run import project, session
from ecgnb.run.headless import run_notebook
from ecgnb.run.preflight import check_code

CLONE = Path(ecgnb.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ECGNB_HOME", "ECGNB_NOTEBOOK", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session, "_opened", None)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the files that matter for its root."""
    folder = tmp_path / "clone"
    for name in ("ecgnb/__init__.py", "notebooks/master_pipeline.ipynb"):
        (folder / name).parent.mkdir(parents=True)
        shutil.copy(CLONE / name, folder / name)
    return folder


@pytest.mark.parametrize("start", [".", "notebooks", "ecgnb"])
def test_a_clone_is_one_project_whatever_outputs_are_below_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    for name in ("artifacts", "notebooks/artifacts", "ecgnb/artifacts/runs"):
        (clone / name).mkdir(parents=True)
    monkeypatch.chdir(clone / start)
    assert project.project_root() == project.code_root() == clone


def test_artifacts_above_make_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert project.project_root() == tmp_path / "work"


def test_the_first_run_elsewhere_marks_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    run = session.open_run(SEED=1)
    assert run.root == tmp_path
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setattr(session, "_opened", None)
    assert session.open_run() == run
    session.log_to(run)


def test_a_clone_gets_no_marker(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone / "notebooks")
    session.open_run(SEED=1)
    assert not (clone / project.MARKER).exists()
    assert [path.name for path in (clone / "notebooks").iterdir()] == [
        "master_pipeline.ipynb"
    ]


def test_home_is_for_outputs_and_the_notebook_is_the_clones(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path / "out"))
    master = clone / "notebooks" / "master_pipeline.ipynb"
    for start in (clone, clone / "notebooks"):
        monkeypatch.chdir(start)
        assert project.project_root() == tmp_path / "out"
        assert project.master_notebook() == master
    monkeypatch.chdir(tmp_path)  # outside of every clone: that of the package
    assert project.master_notebook() == CLONE / "notebooks" / "master_pipeline.ipynb"


def test_a_relative_home_is_the_same_from_the_notebooks_folder(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_HOME", "out")
    for start in (clone, clone / "notebooks"):
        monkeypatch.chdir(start)
        assert project.project_root() == clone / "out"


def test_inputs_are_found_from_anywhere_and_outputs_go_to_the_project(
    clone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="ecgnb")
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path / "out"))
    example = "examples/keras_bbb/model.json"
    monkeypatch.chdir(clone / "notebooks")
    assert project.input_path(example) == str(CLONE / example)  # the package's clone
    for folder in (clone, tmp_path / "out"):  # the nearer one first
        (folder / example).parent.mkdir(parents=True)
        (folder / example).touch()
        caplog.clear()
        assert project.input_path(example) == str(folder / example)
        assert f"is {folder / example} here, not" in caplog.text
    assert project.output_path("artifacts/x") == str(tmp_path / "out/artifacts/x")
    assert project.input_path("pathology_avb") == "pathology_avb"
    assert project.input_path("") == ""
    assert project.project_path(str(tmp_path / "out/a/b")) == "a/b"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere"
)
def test_a_locked_folder_names_the_variable(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.chmod(0o555)
    monkeypatch.chdir(clone)
    with pytest.raises(FileError, match="set ECGNB_HOME to a folder of yours"):
        session.open_run(SEED=1)


def test_a_folder_that_cannot_be_written_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").write_text("a file where the folder belongs")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="set ECGNB_HOME to a folder of yours"):
        session.open_run(SEED=1)


def test_preflight_warns_of_a_notebook_from_another_clone(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = session.open_run(SEED=1)
    (verdict,) = check_code(run)
    assert verdict.status == "pass" and str(CLONE) in verdict.finding
    monkeypatch.chdir(clone / "notebooks")  # Jupyter starts a kernel there
    (verdict,) = check_code(run)
    assert verdict.status == "warn"
    assert f"{clone}," in verdict.finding and f"{CLONE}:" in verdict.finding
    monkeypatch.chdir(tmp_path)
    master = clone / "notebooks" / "master_pipeline.ipynb"
    monkeypatch.setenv("ECGNB_NOTEBOOK", str(master))  # `ecgnb run` names it
    (verdict,) = check_code(run)
    assert verdict.status == "warn"
    master = CLONE / "notebooks" / "master_pipeline.ipynb"
    monkeypatch.setenv("ECGNB_NOTEBOOK", str(master))
    (verdict,) = check_code(run)
    assert verdict.status == "pass"


@pytest.mark.parametrize("program", ["jupyterlab", "vscode"])
def test_the_open_notebook_is_known(
    clone: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    assert project.open_notebook() is None
    master = clone / "notebooks" / "master_pipeline.ipynb"
    shell = InteractiveShell()
    monkeypatch.setattr(project, "notebook_shell", lambda: shell)
    if program == "jupyterlab":
        monkeypatch.setenv("JPY_SESSION_NAME", str(master))
    else:
        shell.user_ns["__vsc_ipynb_file__"] = str(master)
    assert project.open_notebook() == master


@pytest.mark.notebook
def test_ecgnb_run_from_a_read_only_clone_writes_to_home_only(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a notebook that only opens a run, named by its clone."""
    source = json.loads((clone / project.MASTER).read_text(encoding="utf-8"))
    kept = ("PROFILE = ", "run = ecgnb.open_run(globals())\nrun")
    source["cells"] = [
        cell
        for cell in source["cells"]
        if "".join(cell["source"]).rstrip().endswith(kept[1])
        or (kept[0] in "".join(cell["source"]) and cell["cell_type"] == "code")
    ]
    (clone / project.MASTER).write_text(json.dumps(source), encoding="utf-8")
    before = sorted(clone.rglob("*"))
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path / "out"))
    monkeypatch.chdir(clone / "notebooks")
    executed = run_notebook({"SEED": 3})
    assert executed.parent == tmp_path / "out" / "logs"
    (config,) = (tmp_path / "out" / "artifacts" / "runs").glob("*/config.json")
    assert executed.stem == config.parent.name
    assert sorted(clone.rglob("*")) == before
    assert os.environ["ECGNB_HOME"] == str(tmp_path / "out")
    assert "ECGNB_NOTEBOOK" not in os.environ
