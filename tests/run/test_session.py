from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from ecgnb.core.errors import CheckpointError, ConfigError, StageError
from ecgnb.core.files import read_json, read_sealed, write_sealed
from ecgnb.run import project, session
from ecgnb.run.config import RunConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path


def test_the_same_parameters_open_the_same_run(home: Path) -> None:
    first = session.open_run(PROFILE="smoke", SEED=3)
    assert first.name.startswith("demo-smoke-resnet1d-")
    assert first == session.open_run(
        {"PROFILE": "smoke", "SEED": 3, "EPOCHS": None, "np": pytest}
    )
    assert session.open_run(PROFILE="smoke", SEED=4).name != first.name
    assert read_json(first.path("config.json"))["parameters"]["SEED"] == 3


def test_without_parameters_the_last_one_of_this_process(home: Path) -> None:
    first = session.open_run(SEED=1)
    # another process opens another run of the same project meanwhile
    code = "import ecgnb; ecgnb.open_run(SEED=2)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_json(home / "artifacts" / "runs" / "latest.json")["run"] != first.name
    assert session.open_run() == first


def test_after_a_restart_the_latest_of_the_project(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.open_run(SEED=1, MODEL_OPTIONS={"width": 8}, LABEL_ORDER="NORM,AF")
    monkeypatch.setattr(session, "_opened", None)
    again = session.open_run()
    assert again == first and again.config == first.config
    monkeypatch.setattr(session, "_opened", None)
    # the cell below the parameters, run alone after a restart: its globals() hold no
    # parameter
    assert session.open_run({"In": [], "_": 1, "ecgnb": session}) == first


def test_the_environment_does_not_change_a_run_that_was_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.open_run(SEED=1)
    monkeypatch.setattr(session, "_opened", None)
    monkeypatch.setenv("ECGNB_EPOCHS", "9")
    assert (
        session.open_run().config.training.epochs == first.config.training.epochs == 1
    )


def test_no_run_yet(home: Path) -> None:
    with pytest.raises(StageError, match="Run the parameters cell"):
        session.open_run()
    with pytest.raises(StageError, match=r"no run 'x'\. Runs here: none yet"):
        session.find_run("x")


def test_a_mistyped_parameter_in_the_notebook_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="no parameter 'EPOCSH'"):
        session.open_run({"EPOCSH": 5})
    assert not (home / "artifacts").exists()


def test_looking_a_run_up_does_not_make_it_the_latest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = session.open_run(SEED=1), session.open_run(SEED=2)
    assert session.find_run(first.name) == first
    monkeypatch.setattr(session, "_opened", None)
    assert session.open_run() == second
    monkeypatch.setattr(session, "_opened", None)
    with pytest.raises(StageError, match="has done stage 'evaluate' yet"):
        session.find_run("latest")
    first.finish("evaluate", {})
    assert session.find_run("latest") == first


def test_another_confidence_is_the_same_run_and_is_remembered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.open_run(SEED=1)
    again = session.open_run(SEED=1, CONFIDENCE=0.9)
    assert again.name == first.name
    monkeypatch.setattr(session, "_opened", None)
    assert session.open_run().config.evaluation.confidence == 0.9


def test_a_damaged_configuration_is_an_error_of_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = session.open_run(SEED=1)
    monkeypatch.setattr(session, "_opened", None)
    run.path("config.json").write_text('{"SEED": 1', encoding="utf-8")
    with pytest.raises(StageError, match=r"config\.json cannot be read"):
        session.open_run()


def test_a_folder_of_another_configuration_is_refused(home: Path) -> None:
    run = session.open_run(SEED=1)
    other = RunConfig.from_parameters({"SEED": 2})
    content = {"parameters": other.parameters(), "sources": other.sources()}
    write_sealed(run.path("config.json"), content)
    with pytest.raises(CheckpointError, match="does not belong to run"):
        session.open_run(SEED=1)


def test_a_part_of_a_study_is_never_the_latest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.open_run(SEED=1)
    first.finish("evaluate", {})
    part = session.open_run(SEED=2, part_of="seeds")
    part.finish("evaluate", {})
    assert session.open_run() == session.find_run("latest") == first
    monkeypatch.setattr(session, "_opened", None)
    assert session.open_run() == first
    monkeypatch.setattr(session, "_opened", None)
    assert session.find_run("latest") == first
    assert session.find_run(part.name) == part
    # Opened by its parameters it is the user's own.
    assert session.open_run(SEED=2) == part
    monkeypatch.setattr(session, "_opened", None)
    assert session.find_run("latest") == part


def test_a_run_of_the_users_stays_one_when_a_study_uses_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.open_run(SEED=1)
    session.open_run(SEED=1, part_of="seeds").finish("evaluate", {})
    monkeypatch.setattr(session, "_opened", None)
    assert session.find_run("latest") == first


def test_the_run_evaluated_last_is_known_by_its_record_not_by_file_times(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [session.open_run(SEED=seed) for seed in (1, 2)]
    for run, finished in zip(runs, ("2026-01-02", "2026-01-01"), strict=True):
        run.finish("evaluate", {})
        file = run.path("stages", "evaluate.json")
        write_sealed(file, {**read_sealed(file), "finished": f"{finished}T00:00:00"})
    monkeypatch.setattr(session, "_opened", None)
    assert session.find_run("latest") == runs[0]


def test_another_run_than_the_open_one_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    first = session.open_run(SEED=1)
    first.finish("evaluate", {})
    second = session.open_run(SEED=2)
    assert session.find_run("latest") == first
    assert capsys.readouterr().out == (
        f"Run {second.name}, which is open, is not evaluated yet: run {first.name}, "
        "model resnet1d.\n"
    )


@pytest.fixture
def notebook(home: Path, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """A notebook's variables; its cells are counted by the test."""
    shell = InteractiveShell()
    for module in (session, project):
        monkeypatch.setattr(module, "notebook_shell", lambda: shell)
    monkeypatch.setattr(session, "_opened_with", None)
    monkeypatch.setattr(session, "_named", None)
    return shell


def test_parameters_that_changed_after_the_run_was_opened_are_refused(
    notebook: InteractiveShell,
) -> None:
    variables = notebook.user_ns
    variables |= {"PROFILE": "smoke", "EPOCHS": 5, "LABEL_ORDER": None, "LR": "0.01"}
    first = session.open_run(variables)
    assert session.use_run(first) is session.open_run() is first
    variables["LR"] = np.float64(0.01)  # the same value in another type
    assert session.open_run() is first
    for name, value, message in (
        ("EPOCHS", 10, rf"EPOCHS is 10 in this .* run {first.name} was opened with 5"),
        ("EPOCHS", None, "EPOCHS is not set in this .* was opened with 5"),
        ("LABEL_ORDER", ["MI", "AF"], "LABEL_ORDER is .* was opened without it"),
        ("EPOCHS", "many", "EPOCHS is 'many'"),
        ("EPOCSH", 10, "no parameter 'EPOCSH' .* Did you mean EPOCHS"),
    ):
        before = variables.get(name)
        variables[name] = value
        with pytest.raises(ConfigError, match=message):
            session.open_run()
        with pytest.raises(ConfigError, match=message):
            session.use_run(first)
        variables[name] = before
    del variables["EPOCSH"]
    variables["EPOCHS"] = 10
    second = session.open_run(variables)
    assert second.config.training.epochs == 10
    assert session.use_run(session.find_run(first.name)) == first, "named on purpose"


def test_variables_have_nothing_to_do_with_a_run_that_keywords_opened(
    notebook: InteractiveShell,
) -> None:
    notebook.user_ns["SEED"] = 1
    for seed in (2, 3):
        session.open_run(notebook.user_ns, SEED=seed)
        assert session.open_run().config.training.seed == seed
    run = session.open_run(SEED=4)
    notebook.user_ns |= {"SEED": 5, "LEAD": "II"}
    assert session.open_run() is run


def test_the_latest_run_is_refused_where_the_notebook_has_other_parameters(
    notebook: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = session.open_run(EPOCHS=3, SEED=1)
    for variables, message in (
        ({"PROFILE": "smoke", "EPOCHS": 4}, "EPOCHS is 4 .* has 3"),
        ({"PROFILE": "smoke", "EPOCHS": None}, "EPOCHS is not set .* has 3"),
        ({"PROFILE": "medium"}, "PROFILE is 'medium' .* has 'smoke'"),
    ):
        monkeypatch.setattr(session, "_opened", None)
        notebook.user_ns |= variables
        with pytest.raises(ConfigError, match=message):
            session.open_run()
        for name in variables:
            del notebook.user_ns[name]
    notebook.user_ns |= {"PROFILE": "smoke", "EPOCHS": 3, "LR": None}
    assert session.open_run() == run
    monkeypatch.setattr(session, "_opened", None)
    for name in ("PROFILE", "EPOCHS", "LR"):
        del notebook.user_ns[name]
    assert session.open_run() == run, "after a restart there are no parameters"


def test_a_cell_names_its_run_once(
    notebook: InteractiveShell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    run = session.open_run(SEED=1, MODEL="xresnet1d50")
    line = f"Run {run.name}, model xresnet1d50.\n"
    session.use_run(run)
    session.use_run(run)
    assert capsys.readouterr().out == line
    notebook.execution_count += 1
    session.use_run(run)
    assert capsys.readouterr().out == line
    monkeypatch.setattr(session, "_opened", None)
    notebook.execution_count += 1
    session.use_run(session.open_run())
    assert capsys.readouterr().out == f"Going on with {run.title} in {run.root}.\n"


def test_the_log_goes_to_the_runs_file_only(home: Path) -> None:
    first, second = session.open_run(SEED=1), session.open_run(SEED=2)
    logging.getLogger("ecgnb.test").info("for the second")
    assert not first.log_file.exists()
    assert "for the second" in second.log_file.read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_stops_nothing(home: Path) -> None:
    session.open_run(SEED=1)
    shutil.rmtree(home / "logs")
    logging.getLogger("ecgnb.test").info("into nowhere")
    assert not (home / "logs").exists()


def modules_loaded_by(code: str) -> set[str]:
    """Return those of the slow packages that a new process has imported."""
    slow = {"torch", "scipy", "sklearn", "matplotlib", "pandas", "wfdb"}
    program = f"import sys; {code}; print(*({slow} & set(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(process.stdout.split())


def test_importing_ecgnb_and_its_command_is_light() -> None:
    assert modules_loaded_by("import ecgnb, ecgnb.cli.main") == set()


def test_opening_a_run_is_light(home: Path) -> None:
    assert modules_loaded_by("import ecgnb; ecgnb.open_run(SEED=1)") == set()
    # The name of a data set is checked in the catalogue, whose tables are pandas'.
    ptbxl = "import ecgnb; ecgnb.open_run(DATASET='ptbxl')"
    assert modules_loaded_by(ptbxl) <= {"pandas"}


def test_a_reopened_run_shows_where_its_values_came_from(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGNB_SEED", "5")
    run = session.open_run(LR=0.01)
    monkeypatch.delenv("ECGNB_SEED")
    monkeypatch.setattr(session, "_opened", None)
    sources = session.open_run().config.sources()
    assert sources == run.config.sources()
    assert (sources["SEED"], sources["LR"], sources["EPOCHS"], sources["MODEL"]) == (
        "environment",
        "notebook",
        "profile",
        "default",
    )
