from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecgnb.cli.main import main
from ecgnb.run import session
from ecgnb.run.config import parameter_types

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path


def test_an_unknown_parameter_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    for command in ("run", "train", "preflight"):
        notebook = (
            [str(Path(__file__).parents[2] / "notebooks" / "master_pipeline.ipynb")]
            if command == "run"
            else []
        )
        assert main([command, *notebook, "-p", "EPOCH", "3"]) == 2
        assert "Did you mean EPOCHS" in capsys.readouterr().err
    assert main(["train", "-p", "EPOCHS", "three"]) == 2
    assert (
        "EPOCHS is 'three' (str); it needs a value of type int"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_every_parameter_is_an_option_with_its_choices_and_help(
    capsys: Capture,
) -> None:
    assert main(["train", "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for name in parameter_types():
        assert f"--{name.lower().replace('_', '-')} " in page
    assert "--scheduler [cosine|step|one-cycle|none]" in page
    assert "--bootstrap-resamples INTEGER resamples behind each interval" in page


def test_an_option_and_its_parameter_are_one(home: Path, capsys: Capture) -> None:
    assert main(["parameters", "--target-fs", "250", "--json"]) == 0
    by_option = capsys.readouterr().out
    assert main(["parameters", "-p", "TARGET_FS", "250", "--json"]) == 0
    assert capsys.readouterr().out == by_option
    row = json.loads(by_option)[0]
    assert (row["parameter"], row["value"], row["source"]) == (
        "TARGET_FS",
        250.0,
        "notebook",
    )
    assert main(["parameters", "--scheduler", "cosinus"]) == 2
    assert "cosine" in capsys.readouterr().err
    assert main(["parameters", "-p", "TEST_FOLD", "-1", "--json"]) == 0


def test_parameters_of_a_run_and_its_stages(home: Path, capsys: Capture) -> None:
    run = session.open_run(SEED=3)
    run.finish("cohort", {})
    assert main(["parameters", "--run", run.name]) == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.split() == ["parameter", "value", "source", "help"]
    assert second.split()[:3] == ["SEED", "3", "notebook"]
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["run"] == run.name
    assert main(["runs", run.name, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in stages] == ["done", *["open"] * 5]
    assert main(["runs", "nope"]) == 1


def test_preflight_prints_json_alone(home: Path, capsys: Capture) -> None:
    assert main(["preflight", "--preprocess-limit", "8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"status", "finding"} <= rows[0].keys()
