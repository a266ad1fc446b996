from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecgnb.cli.main import main


def test_available_lists_every_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["available"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("ptbxl", "xresnet1d101", "zscore", "wfdb"))
    assert main(["available", "model", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in rows} == {"model"}
    assert "resnet1d" in {row["name"] for row in rows}


def test_inspect_shows_a_recording_of_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", str(tmp_path / "demo"), "--records", "6"]) == 0
    files = sorted((tmp_path / "demo").rglob("*.hea"))
    assert len(files) == 6
    assert main(["inspect", str(files[0])]) == 0
    assert "10.00 s at 500 Hz, leads I II III aVR" in capsys.readouterr().out
    assert main(["inspect", str(files[0]), "--json"]) == 0
    recording = json.loads(capsys.readouterr().out)
    assert (recording["fs"], len(recording["leads"])) == (500, 12)
