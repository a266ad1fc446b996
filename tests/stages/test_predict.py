"""Which recordings and which model are meant by what a user names."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgnb
from ecgnb.core.errors import CheckpointError, ReadError
from ecgnb.data.demo.cohort_files import synthesise
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.models import build_model
from ecgnb.stages.predict import find_bundle, infer_recordings, open_model, predict


@pytest.fixture
def windowed(finished_run, tmp_path: Path) -> str:
    """The finished run's model as one that reads windows of 2 s."""
    bundle = find_bundle(finished_run)
    prepare = dataclasses.replace(bundle.prepare, target_samples=200)
    model = build_model(**{**bundle.model.spec(), "n_samples": 200}).eval()
    model.load_state_dict(bundle.model.state_dict())
    rules = ("mean",) * len(bundle.classes)
    return str(
        save_bundle(
            dataclasses.replace(bundle, model=model, prepare=prepare, aggregate=rules),
            tmp_path / "w",
        )
    )


def test_predict_takes_all_recordings_below_a_folder(
    finished_run, recordings: Path
) -> None:
    result = predict(recordings, run=finished_run)
    files = sorted((recordings / "records").glob("*.hea"))
    assert (
        list(result["record_id"]) == [file.stem for file in files] and len(files) == 40
    )
    assert (result["problem"] == "").all(), (
        "the table of labels beside them is no recording"
    )
    listed = predict(files[:3], run=finished_run)
    pd.testing.assert_frame_equal(result.head(3), listed)
    mixed = predict([files[5], str(recordings / "records")], run=finished_run)
    assert len(mixed) == 41 and mixed.iloc[0].equals(mixed.iloc[6])
    pd.testing.assert_frame_equal(predict(str(recordings), run=finished_run), result)


def test_predict_takes_a_record_and_not_the_folder_beside_it(
    finished_run, recordings: Path
) -> None:
    (recordings / "records" / "D00001").mkdir()
    assert list(
        predict(recordings / "records" / "D00001", run=finished_run)["record_id"]
    ) == ["D00001"]


def test_predict_says_that_a_folder_holds_no_recording(
    finished_run, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("record_id,label\na,NORM\n", encoding="utf-8")
    with pytest.raises(ReadError, match="holds no recording") as caught:
        predict(tmp_path, run=finished_run)
    assert caught.value.reason == "empty"


def test_infer_recordings_saves_the_table_of_predict(
    windowed: str, recordings: Path, tmp_path: Path
) -> None:
    result = infer_recordings(recordings, run=windowed, embeddings=True, batch_size=16)
    table = predict(recordings, run=windowed)
    classes = find_bundle(windowed).classes
    np.testing.assert_allclose(
        result.table[list(classes)], table[list(classes)], atol=1e-6
    )
    assert (
        len(result.windows) == len(result.embeddings) == 5 * 40
        and result.record["batch_size"] == 16
    )
    means = result.windows.groupby("record_id")[list(classes)].mean()
    np.testing.assert_allclose(means, result.table[list(classes)], atol=1e-12)
    saved = json.loads(
        (result.save(tmp_path / "out") / "inference.json").read_text(encoding="utf-8")
    )
    assert saved["model"]["fingerprint"] == result.record["model"]["fingerprint"]


def test_infer_recordings_passes_its_reading_options_on(
    windowed: str, tmp_path: Path
) -> None:
    signal = np.random.default_rng(0).normal(size=(1200, 12)).cumsum(axis=0) * 30
    lines = [
        ",".join(STANDARD_12),
        *(",".join(f"{value:.1f}" for value in row) for row in signal),
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = infer_recordings(
        tmp_path, run=windowed, fs=200, units="uV", embeddings=None
    )
    assert result.embeddings is None and result.windows["end_s"].tolist() == [
        2.0,
        4.0,
        6.0,
    ]
    assert "fs" in infer_recordings(tmp_path, run=windowed).table["problem"][0]


def test_a_prediction_names_run_and_model_wherever_the_model_is_from(
    finished_run, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    copy = shutil.copytree(finished_run.path("bundle"), tmp_path / "copy")
    line = f"Run {finished_run.name}, model resnet1d"
    for name, printed in (
        (finished_run, f"{line}."),
        ("latest", f"{line}."),
        (str(copy), f"{line}, bundle {copy}."),
    ):
        capsys.readouterr()
        table = predict(synthesise(0), run=name)
        assert capsys.readouterr().out.splitlines() == [printed]
        row = table.iloc[0]
        assert (row["run"], row["model"]) == (finished_run.name, "resnet1d")


def test_a_class_called_model_keeps_its_column(finished_run) -> None:
    opened = open_model(finished_run)
    table = opened.named(pd.DataFrame({"model": [0.25]}))
    assert table.to_dict("records") == [{"model": 0.25, "run": finished_run.name}]


def test_a_model_is_found_by_its_path_in_the_project(
    finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # not the project's folder
    path = f"artifacts/runs/{finished_run.name}/bundle"
    assert find_bundle(path).classes == finished_run.classes


def test_find_bundle_by_run_by_folder_and_by_path(finished_run, tmp_path: Path) -> None:
    source = finished_run.predictions["path"].iloc[0]
    wanted = ecgnb.predict(source, run=finished_run)
    for name in (
        finished_run.name,
        str(finished_run.folder),
        finished_run.folder,
        finished_run.path("bundle"),
    ):
        assert ecgnb.predict(source, run=name).equals(wanted)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither a bundle nor a port"):
        find_bundle(str(tmp_path / "empty"))
    broken = Path(shutil.copytree(finished_run.path("bundle"), tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="checksum"):
        find_bundle(broken)
