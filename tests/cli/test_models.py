from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ecgnb.cli.main import main
from ecgnb.stages import bundling

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("width", [80, 120])
def test_checkpoint_inspect_fits_into_the_terminal(
    golden_dir: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    file = str(golden_dir / "ecg_fm" / "pretrained.pt")
    assert main(["checkpoint", "inspect", file]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= width
    assert "The first 10 of 171 tensors" in page and "final_proj.bias" not in page
    assert main(["checkpoint", "inspect", file, "--tensors"]) == 0
    assert "final_proj.bias" in capsys.readouterr().out


def test_checkpoint_inspect_prints_all_tensors_as_json(
    golden_dir: Path, capsys: Capture
) -> None:
    file = str(golden_dir / "ecg_fm" / "pretrained.pt")
    assert main(["checkpoint", "inspect", file, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tensors"]) == 171


def test_checkpoint_inspect_names_what_is_wrong(
    tmp_path: Path, capsys: Capture
) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("a.txt", b"x")
    assert main(["checkpoint", "inspect", str(tmp_path / "x.pt")]) == 1
    assert "data.pkl is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--classes", "NORM", "AF or AFL", "--recordings", "a.hea", "b.hea"],
        [
            *("--classes", "NORM", "--classes", "AF or AFL"),
            *("--recordings", "a.hea", "--recordings", "b.hea"),
        ],
    ],
)
def test_bundle_takes_several_values_after_one_option(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        bundling, "make_bundle", lambda *paths, **options: calls.append(options)
    )
    assert main(["bundle", "model.pt", "--out", "bundle", *options]) == 0
    assert calls[0]["classes"] == ("NORM", "AF or AFL")
    assert calls[0]["recordings"] == ("a.hea", "b.hea")
    assert (calls[0]["precision"], calls[0]["max_change"]) == ("float32", 0.02)
