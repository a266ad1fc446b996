"""The main job on the demo cohort: what each stage leaves, that it is done once, and
that its numbers agree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ecgnb
from ecgnb.core.errors import StageError
from ecgnb.run import session


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGNB_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_opened", None)
    return tmp_path


def test_every_promised_file_is_there(finished_run) -> None:
    names = [
        "config.json",
        "environment.json",
        "manifest.csv",
        "coverage.csv",
        "splits.json",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "report.html",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "bundle/model.safetensors",
        "bundle/bundle.json",
    ]
    missing = [name for name in names if not finished_run.path(name).is_file()]
    assert missing == ["environment.json"], (
        "the environment report is a cell of its own"
    )
    assert not list(finished_run.root.rglob(".tmp-*"))


def test_a_stage_before_its_input_says_what_to_run(
    home: Path, small_parameters: dict
) -> None:
    run = ecgnb.open_run(small_parameters)
    for stage, before in (
        (ecgnb.prepare, "ecgnb.load_cohort"),
        (ecgnb.split, "ecgnb.prepare"),
        (ecgnb.train, "ecgnb.split"),
        (ecgnb.evaluate, "ecgnb.train"),
        (ecgnb.write_report, "ecgnb.evaluate"),
    ):
        with pytest.raises(StageError, match=before.replace(".", r"\.")):
            stage(run)


def test_a_finished_run_is_not_done_again(finished_run) -> None:
    files = [
        path
        for path in finished_run.folder.rglob("*")
        if path.is_file() and path.name != "report.html"
    ]
    before = {path: path.stat().st_mtime_ns for path in files}
    for stage in (
        ecgnb.load_cohort,
        ecgnb.prepare,
        ecgnb.split,
        ecgnb.train,
        ecgnb.evaluate,
    ):
        stage(finished_run)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_every_stage_names_its_run_and_model(finished_run, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    line = f"Run {finished_run.name}, model resnet1d."
    for stage in (
        ecgnb.environment_report,
        ecgnb.preflight,
        ecgnb.load_cohort,
        ecgnb.prepare,
        ecgnb.split,
        ecgnb.train,
        ecgnb.evaluate,
        ecgnb.show.model,
        ecgnb.show.label_counts,
        ecgnb.show.test_examples,
    ):
        capsys.readouterr()
        stage(finished_run)
        assert capsys.readouterr().out.splitlines()[0] == line, stage
    finished_run.path("environment.json").unlink()


def test_the_files_prediction_equals_the_runs(finished_run) -> None:
    """From the file, through the bundle, comes what evaluation had: same reading,
    preparation, transforms, weights."""
    row = finished_run.predictions.iloc[0]
    table = ecgnb.predict(row["path"])
    for name in finished_run.classes:
        # the store keeps int16 with a scale a lead, the file is used in float32
        assert table[name].iloc[0] == pytest.approx(
            row[f"probability_{name}"], abs=2e-3
        )
    assert table["prediction"].iloc[0] == row["prediction"]


def test_changed_recordings_make_later_stages_stale(
    finished_home: Path, home: Path, small_parameters: dict, tmp_path: Path
) -> None:
    shutil.copytree(
        next((finished_home / "artifacts" / "demo").iterdir()), tmp_path / "data"
    )
    run = ecgnb.open_run({**small_parameters, "DATASET_DIR": str(tmp_path / "data")})
    for stage in (
        ecgnb.load_cohort,
        ecgnb.prepare,
        ecgnb.split,
        ecgnb.train,
        ecgnb.evaluate,
    ):
        stage(run)
    before = {
        stage: run.record(stage)["inputs"] for stage in ("cohort", "prepare", "split")
    }
    signal = tmp_path / "data" / "records" / "D00003.dat"
    signal.write_bytes(signal.read_bytes()[:-2000])
    ecgnb.load_cohort(run)
    table = ecgnb.prepare(run).set_index("what")["recordings"]
    assert table["stored"] == 79 and table["rejected, truncated"] == 1
    with pytest.raises(
        StageError, match=r"changed after stage 'split'.*Run again: ecgnb\.split\(run\)"
    ):
        ecgnb.train(run)
    ecgnb.split(run)
    assert sum(len(rows) for rows in run.splits.parts.values()) == 79
    with pytest.raises(
        StageError, match=r"changed after stage 'train'.*Run again: ecgnb\.train\(run\)"
    ):
        ecgnb.evaluate(run)
    best = run.path("checkpoints", "best.ckpt").read_bytes()
    ecgnb.train(run)
    ecgnb.evaluate(run)
    kept = list(run.folder.glob("checkpoints-*"))
    assert len(kept) == 1 and (kept[0] / "best.ckpt").read_bytes() == best, (
        "the old training is kept"
    )
    after = {stage: run.record(stage)["inputs"] for stage in before}
    assert [stage for stage in before if before[stage] != after[stage]] == [
        "prepare",
        "split",
    ]


def test_recordings_that_were_only_copied_keep_the_training(
    finished_home: Path, home: Path, small_parameters: dict, tmp_path: Path
) -> None:
    shutil.copytree(
        next((finished_home / "artifacts" / "demo").iterdir()), tmp_path / "data"
    )
    run = ecgnb.open_run({**small_parameters, "DATASET_DIR": str(tmp_path / "data")})
    stages = (ecgnb.load_cohort, ecgnb.prepare, ecgnb.split, ecgnb.train)
    for stage in stages:
        stage(run)
    weights = run.path("checkpoints", "last.ckpt")
    before = weights.stat().st_mtime_ns
    (tmp_path / "data" / "records" / "D00003.hea").touch()
    for stage in stages:
        stage(run)
    assert weights.stat().st_mtime_ns == before
