from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgnb.cli.main import main
from ecgnb.data.demo.cohort_files import synthesise
from ecgnb.foundation.stand_in import SMALL, stand_in


def test_predict_prints_a_table_or_json_and_writes_csv(
    finished_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished_run.predictions["path"].iloc[0]
    capsys.readouterr()
    assert main(["predict", file, "--json", "--csv", str(tmp_path / "p.csv")]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    classes = finished_run.classes
    assert sum(row[name] for name in classes) == pytest.approx(1, abs=1e-6)
    assert row["prediction"] == max(classes, key=row.get)
    assert (row["run"], row["model"]) == (finished_run.name, "resnet1d")
    written = pd.read_csv(tmp_path / "p.csv").iloc[0]
    assert written["prediction"] == row["prediction"]
    assert (written["run"], written["model"]) == (finished_run.name, "resnet1d")
    assert main(["predict", file]) == 0
    first, header, line = capsys.readouterr().out.splitlines()
    assert first == f"Run {finished_run.name}, model resnet1d."
    assert row["record_id"] in line and "run" not in header.split()


def test_predict_of_a_folder_leaves_a_folder_of_results(
    finished_run,
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = recordings / "records"
    for file in sorted(records.iterdir())[6:]:
        file.unlink()
    (records / "D00002.dat").write_bytes(b"\0")
    out = tmp_path / "out"
    capsys.readouterr()
    assert (
        main(
            [
                "predict",
                str(records),
                "--out",
                str(out),
                "--embeddings",
                "--windows",
                "--json",
            ]
        )
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert [row["record_id"] for row in printed["recordings"]] == [
        "D00001",
        "D00002",
        "D00003",
    ]
    assert [row["record_id"] for row in printed["windows"]] == ["D00001", "D00003"]
    assert printed["windows"][1] == {
        "record_id": "D00003",
        "window": 0,
        "start_s": 0.0,
        "end_s": 10.0,
    } | {
        name: pytest.approx(printed["recordings"][2][name])
        for name in finished_run.classes
    }
    windows, predictions = (
        pd.read_csv(out / name) for name in ("windows.csv", "predictions.csv")
    )
    assert (
        len(np.load(out / "embeddings.npy")) == len(windows) == 2
        and len(predictions) == 3
    )
    assert set(predictions["run"]) == {finished_run.name}
    record = json.loads((out / "inference.json").read_text(encoding="utf-8"))
    assert (record["recordings"], record["problems"], record["windows"]) == (3, 1, 2)
    assert record["run"] == finished_run.name
    rows = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert rows[1]["problem"] and rows[1]["flags"] is None
    monkeypatch.setenv("COLUMNS", "400")  # a narrower terminal breaks long cells
    assert main(["predict", str(records), "--windows"]) == 0
    recordings_shown, windows_shown = capsys.readouterr().out.strip().split("\n\n")
    assert (
        len(recordings_shown.splitlines()) == 5 and len(windows_shown.splitlines()) == 3
    )
    assert main(["predict", str(records / "D00002.hea"), "--windows"]) == 1


def test_predict_wants_a_folder_for_embeddings(
    finished_run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "x.hea", "--embeddings"]) == 2
    assert "add --out FOLDER" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    finished_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = finished_run.predictions["path"].iloc[0]
    assert main(["predict", good, str(tmp_path / "missing.hea"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["problem"] == "" and "missing" in rows[1]["problem"]
    assert main(["predict", str(tmp_path / "missing.hea")]) == 1
    assert "None of the recordings could be used" in capsys.readouterr().err


def test_a_run_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    assert main(["predict", "x.hea", "--run", "nope"]) == 1
    assert "no run 'nope'" in capsys.readouterr().err


def test_predict_of_many_classes_shows_the_highest(
    tmp_path, monkeypatch, capsys
) -> None:
    checkpoint = stand_in(tmp_path / "small.pt", n_classes=17, optimizer=False, **SMALL)
    np.savez(
        tmp_path / "one.npz",
        ecg=synthesise(0).signal,
        fs=500,
        leads=np.array(synthesise(0).leads),
        units="mV",
    )
    monkeypatch.setenv("COLUMNS", "200")
    kept = tmp_path / "all.csv"
    assert (
        main(
            [
                "predict",
                str(tmp_path / "one.npz"),
                "--run",
                str(checkpoint),
                "--csv",
                str(kept),
            ]
        )
        == 0
    )
    title, header, line = capsys.readouterr().out.splitlines()[:3]
    assert title == f"Model {checkpoint}, ecg_fm."
    assert "highest 3 of 17" in header and "prediction" not in header
    every = (
        pd.read_csv(kept)
        .iloc[0]
        .drop(["record_id", "prediction", "seconds", "flags", "problem"])
        .drop(["run", "model"])
    )
    name, value = every.astype(float).idxmax(), every.astype(float).max()
    assert f"{name} {value:.3f}" in line
