"""Damaged files of a run, a full disk, a locked folder, and input that changes between
two cells."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from small_jobs import DAMAGE, MAPPING, STAGES, TINY, N, halve, job, relabel

import ecgnb
from ecgnb.cli.main import main
from ecgnb.core import files
from ecgnb.core.errors import CheckpointError, FileError, StageError, StoreError
from ecgnb.run import session


@pytest.fixture(scope="module")
def done(forty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished run."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGNB_HOME", str(folder))
        job(DATASET_DIR=str(forty))
    return folder


@pytest.fixture
def run(done: Path, project: Path):
    """The finished run in a project of its own, opened as after a restart."""
    shutil.copytree(done, project, dirs_exist_ok=True)
    return session.open_run()


CALLS = dict(
    zip(("cohort", "prepare", "split", "train", "evaluate"), STAGES, strict=True)
)
#: A stage's files and the call that needs them next.
LEFT = {
    "manifest.csv": ("cohort", "prepare"),
    "coverage.csv": ("cohort", "prepare"),
    "splits.json": ("split", "train"),
    "history.csv": ("train", "evaluate"),
    "metrics.json": ("evaluate", "write_report"),
    "predictions.csv": ("evaluate", "write_report"),
    "bundle/bundle.json": ("evaluate", "write_report"),
    "bundle/model.safetensors": ("evaluate", "write_report"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", LEFT)
def test_a_damaged_file_is_named_and_its_stage_writes_it_again(
    run, name: str, damage: str
) -> None:
    file, (stage, following) = run.path(name), LEFT[name]
    before = file.read_bytes()
    DAMAGE[damage](file)
    with pytest.raises(
        StageError,
        match=rf"{file.name} (has \d+ bytes in place of|is missing).*Run again: ecgnb\.",
    ):
        getattr(ecgnb, following)(run)
    getattr(ecgnb, CALLS[stage])(run)
    if name == "bundle/bundle.json":  # it tells when it was made and on which machine
        assert (
            json.loads(file.read_bytes())["weights_sha256"]
            == json.loads(before)["weights_sha256"]
        )
    else:
        assert file.read_bytes() == before
    for call in STAGES:
        getattr(ecgnb, call)(run)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("stage", CALLS)
def test_a_stage_whose_note_is_damaged_is_done_again(
    run, stage: str, damage: str
) -> None:
    metrics = run.metrics
    DAMAGE[damage](run.path("stages", f"{stage}.json"))
    for call in STAGES:
        getattr(ecgnb, call)(run)
    assert run.metrics == metrics


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "records.csv",
        "rejected.csv",
        "shard-000.json",
        "signals-000.npy",
        "scales-000.npy",
    ],
)
def test_a_damaged_store_is_mended_by_the_preparation(
    run, name: str, damage: str
) -> None:
    file = run.store.folder / name
    before = file.read_bytes()
    DAMAGE[damage](file)
    session._opened = None
    again = session.open_run()
    ecgnb.prepare(again)
    assert file.read_bytes() == before
    again.store.verify()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_configuration_or_pointer_is_written_again(
    run, forty: Path, damage: str
) -> None:
    latest = run.root / "artifacts" / "runs" / "latest.json"
    for file, message in (
        (latest, "Run the parameters cell"),
        (run.path("config.json"), "with its parameters"),
    ):
        DAMAGE[damage](file)
        session._opened = None
        with pytest.raises(StageError, match=message):
            session.open_run()
        assert job((), DATASET_DIR=str(forty)).metrics == run.metrics
        session._opened = None
        assert session.open_run() == run


def test_a_run_in_a_renamed_folder_is_not_taken_for_a_new_one(run) -> None:
    run.folder.rename(run.folder.with_name("renamed"))
    with pytest.raises(
        StageError, match="the folder was renamed, or made with another version"
    ):
        session.find_run("renamed")


# Checkpoints and bundles.


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_best_checkpoint_costs_nothing_else(run, damage: str) -> None:
    best = run.path("checkpoints", "best.ckpt")
    DAMAGE[damage](best)
    with pytest.raises(StageError, match=r"best\.ckpt .*Run again: ecgnb\.train"):
        ecgnb.evaluate(run)
    with pytest.raises(
        CheckpointError, match=r"best\.ckpt .*delete .*checkpoints and train anew"
    ):
        ecgnb.train(run)
    metrics = json.loads(run.path("metrics.json").read_text(encoding="utf-8"))
    shutil.rmtree(best.parent)
    for call in ("train", "evaluate"):
        getattr(ecgnb, call)(run)
    assert run.metrics == metrics


def test_a_last_checkpoint_cut_in_half_stops_an_unfinished_training(
    forty: Path, project: Path
) -> None:
    from ecgnb.training import loop

    parameters = {"DATASET_DIR": str(forty), "EPOCHS": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "finish_epoch", stop_in_second_epoch(loop.finish_epoch))
        with pytest.raises(KeyboardInterrupt):
            job(**parameters)
    run = job(STAGES[:3], **parameters)
    last = run.path("checkpoints", "last.ckpt")
    whole = last.read_bytes()
    halve(last)
    with pytest.raises(
        CheckpointError,
        match=r"last\.ckpt is damaged.*delete .*checkpoints and train anew",
    ):
        ecgnb.train(run)
    last.write_bytes(whole)
    assert list(ecgnb.train(run)["epoch"]) == [1, 2]


def stop_in_second_epoch(finish: Callable) -> Callable:
    def stop(fitting) -> None:
        if fitting.state.epoch:
            raise KeyboardInterrupt
        finish(fitting)

    return stop


def test_a_checkpoint_of_another_configuration_is_refused_or_set_aside(
    run, forty: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    other = job(STAGES[:3], DATASET_DIR=str(forty), LR=5e-4)
    for name in ("best.ckpt", "last.ckpt"):
        other.path("checkpoints").mkdir(exist_ok=True)
        shutil.copy(run.path("checkpoints", name), other.path("checkpoints", name))
    with pytest.raises(
        CheckpointError, match=r"lr was 0\.003, is 0\.0005.*(start a new run|delete)"
    ):
        ecgnb.train(other)
    shutil.rmtree(other.path("checkpoints"))
    shutil.copytree(run.path("checkpoints"), other.path("checkpoints"))
    assert list(ecgnb.train(other)["lr"]) != list(run.history["lr"])
    assert (
        "training changed since the last training; its checkpoints are kept in"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_note_beside_the_checkpoints_stops_nothing(run, damage: str) -> None:
    weights = run.path("checkpoints", "last.ckpt").read_bytes()
    DAMAGE[damage](run.path("checkpoints", "made_from.json"))
    run.path("stages", "train.json").unlink()
    ecgnb.train(run)
    assert run.path("checkpoints", "last.ckpt").read_bytes() == weights


def test_a_checkpoint_of_another_model(run, forty: Path) -> None:
    other = job(
        STAGES[:4],
        DATASET_DIR=str(forty),
        MODEL_OPTIONS={"widths": [12], "depths": [1]},
    )
    for name in ("best.ckpt",):
        content = run.path("checkpoints", name).read_bytes()
        other.path("checkpoints", name).write_bytes(content)
    note = files.read_sealed(other.path("stages", "train.json"))
    best = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    note["files"]["checkpoints/best.ckpt"] = best  # as if nobody had noticed
    files.write_sealed(other.path("stages", "train.json"), note)
    with pytest.raises(
        CheckpointError,
        match=r"best\.ckpt is of another model \(other shape: .*\(8, .* of \(12",
    ):
        ecgnb.evaluate(other)


def test_a_bundle_with_a_changed_byte(run) -> None:
    weights = run.path("bundle", "model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    path = weights.parents[1] / "manifest.csv"  # any recording of the run
    recording = pd.read_csv(path, dtype=str)["path"].iloc[0]
    with pytest.raises(
        CheckpointError,
        match=r"model\.safetensors .*checksum differs.*delete it and evaluate the run",
    ):
        ecgnb.predict(recording, run=weights.parent)
    with pytest.raises(
        StageError, match=r"model\.safetensors is damaged .*Run again: ecgnb\.evaluate"
    ):
        ecgnb.predict(recording)
    ecgnb.evaluate(run)
    assert weights.read_bytes() == whole
    assert ecgnb.predict(run.predictions["path"].iloc[0])["problem"].iloc[0] == ""


# Input that changes between two cells.


def test_nothing_is_judged_with_splits_that_it_was_not_trained_on(
    recordings: Path, project: Path
) -> None:
    run = job(STAGES[:4], DATASET_DIR=str(recordings))
    for path in sorted((recordings / "records").glob("*.dat"))[:5]:
        path.write_bytes(b"")
    for stage in STAGES[:3]:
        getattr(ecgnb, stage)(run)
    with pytest.raises(
        StageError, match=r"changed after stage 'train' .* Run again: ecgnb\.train"
    ):
        ecgnb.evaluate(run)


def test_changed_labels_ask_for_another_split_and_training(
    recordings: Path, project: Path
) -> None:
    run = job(DATASET_DIR=str(recordings), SPLIT="kfold", N_FOLDS=3)
    relabel(
        recordings,
        lambda position, old: (
            "AF" if position == 3 and old != "AF" else "NORM" if position == 3 else old
        ),
    )
    ecgnb.load_cohort(run)
    with pytest.raises(
        StageError, match=r"changed after stage 'split' .* Run again: ecgnb\.split"
    ):
        ecgnb.train(run)
    ecgnb.split(run)
    with pytest.raises(
        StageError, match=r"changed after stage 'train' .* Run again: ecgnb\.train"
    ):
        ecgnb.evaluate(run)
    ecgnb.train(run)
    assert len(ecgnb.evaluate(run))


def test_recordings_that_left_the_cohort(recordings: Path, project: Path) -> None:
    run = job(STAGES[:2], DATASET_DIR=str(recordings))
    for path in (recordings / "records").glob("D00001.*"):
        path.unlink()
    ecgnb.load_cohort(run)
    with pytest.raises(
        StageError,
        match=r"1 prepared recordings, such as D00001, are not in the cohort any more\.",
    ):
        ecgnb.split(run)
    ecgnb.prepare(run)
    ecgnb.split(run)
    assert len(run.store) == N - 1


# The disk.


@contextlib.contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """Let writes end short as on a full disk: the system refuses files above this
    size."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("stage", "n_bytes", "error", "file"),
    [
        ("load_cohort", 900, FileError, r"manifest\.csv"),
        ("prepare", 20_000, StoreError, "The disk of"),
        ("split", 700, FileError, r"splits\.json"),
        ("train", 5_000, FileError, r"best\.ckpt"),
        ("evaluate", 10_000, FileError, r"metrics\.json"),
        ("write_report", 10_000, FileError, r"report\.html"),
    ],
)
def test_a_disk_that_is_full_at_any_stage(
    forty: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    n_bytes: int,
    error,
    file: str,
) -> None:
    # its text alone is longer than the limit
    monkeypatch.setattr("ecgnb.stages.report.draw_figures", lambda *_: ([], ""))
    order = (*STAGES, "write_report")
    before = order[: order.index(stage)]
    run = job(before, DATASET_DIR=str(forty))
    with (
        files_end_at(n_bytes),
        pytest.raises(error, match=rf"{file}.*[Mm]ake room .* run the same"),
    ):
        getattr(ecgnb, stage)(run)
    assert not list(project.rglob(".tmp-*"))
    for call in STAGES if stage in STAGES else (*STAGES, stage):
        getattr(ecgnb, call)(run)
    assert len(run.predictions) == len(run.splits.test)


def test_no_space_is_told_as_what_it_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "flush_file", full)
        with pytest.raises(
            FileError,
            match=r"(config\.json|\.ecgnb-project) cannot be written: No space left on .*Make room",
        ):
            ecgnb.open_run(TINY)
        assert main(["train", "-p", "EPOCHS", "1"]) == 1
    assert ecgnb.open_run(TINY).path("config.json").is_file()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write below a folder; from root, who has every right, by a
    patch."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(mode)
        return

    def refuse(path: Path) -> None:
        if folder in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "flush_file", refuse)
        yield


def test_a_project_that_may_not_be_written_in(project: Path, forty: Path) -> None:
    with (
        read_only(project),
        pytest.raises(
            FileError, match=r"Permission denied\. Choose a folder where you may write"
        ),
    ):
        job(DATASET_DIR=str(forty))
    run = job(STAGES[:2], DATASET_DIR=str(forty))
    shutil.rmtree(run.store.folder)
    with (
        read_only(project / "artifacts" / "stores"),
        pytest.raises(StoreError, match=r"cannot be written.*Choose a folder"),
    ):
        ecgnb.prepare(run)
    with read_only(run.folder), pytest.raises((FileError, StoreError)):
        for stage in STAGES:
            getattr(ecgnb, stage)(run)
    assert len(job(DATASET_DIR=str(forty)).predictions)


def test_recordings_in_a_folder_that_may_not_be_written_in(
    recordings: Path, project: Path
) -> None:
    with read_only(recordings):
        assert len(job(DATASET_DIR=str(recordings)).predictions)


def test_a_file_where_a_folder_should_be(project: Path) -> None:
    (project / "artifacts").write_text("", encoding="utf-8")
    with pytest.raises(
        FileError, match=r"artifacts.* cannot be written: .*Choose a folder"
    ):
        ecgnb.open_run(TINY)
    (project / "artifacts").unlink()
    assert ecgnb.open_run(TINY).path("config.json").is_file()


class TestLabelsEditedOnDisk:
    """After an edit of the label file nothing made from the old one passes as new."""

    @pytest.fixture
    def edited(self, project: Path, recordings: Path):
        """A finished run whose label file was edited since: one label is another."""
        run = job(DATASET_DIR=str(recordings))
        ecgnb.write_report(run)
        swapped = {"NORM": "AF", "AF": "NORM"}
        relabel(
            recordings, lambda row, old: swapped.get(old, "NORM") if row < 9 else old
        )
        return run

    @pytest.mark.parametrize("stage", [*STAGES[1:], "write_report"])
    def test_each_later_stage_alone_says_so(self, edited, stage: str) -> None:
        message = r"labels changed, after stage 'cohort' .* stale.*ecgnb\.load_cohort"
        with pytest.raises(StageError, match=message):
            getattr(ecgnb, stage)(edited)

    def test_old_numbers_are_not_shown_after_the_cohort_is_loaded_again(
        self, edited, capsys, monkeypatch
    ) -> None:
        ecgnb.load_cohort(edited)
        ecgnb.split(edited)  # the signals are the same: no need to prepare them again
        assert edited.states()["prepare"] == edited.states()["split"] == "done"
        for show in (ecgnb.show.roc, ecgnb.show.training_curves):
            with pytest.raises(StageError, match=r"are old.*follows: ecgnb\.train"):
                show(edited)
        for name in ("metrics", "predictions", "history"):
            with pytest.raises(StageError, match="are old"):
                getattr(edited, name)
        monkeypatch.setenv("ECGNB_PROGRESS", "lines")
        ecgnb.predict(next(Path(edited.manifest["path"][0]).parent.glob("*.hea")))
        assert "trained before its recordings or labels changed." in (
            capsys.readouterr().out
        )
        before = edited.record("evaluate")["inputs"]
        for stage in (*STAGES, "write_report"):
            getattr(ecgnb, stage)(edited)
        assert edited.record("evaluate")["inputs"] != before
        assert set(edited.states().values()) == {"done"}
        assert len(ecgnb.show.roc(edited)) > 0

    def test_a_label_file_that_is_gone_is_named(self, edited) -> None:
        (Path(edited.config.data.dataset_dir) / MAPPING).unlink()
        with pytest.raises(StageError, match="There is no label file"):
            ecgnb.evaluate(edited)


def test_files_that_changed_and_labels_that_did_not_are_no_change(
    project: Path, recordings: Path
) -> None:
    run = job(DATASET_DIR=str(recordings))
    metrics = run.metrics
    (recordings / "notes.txt").write_text("nothing about labels", encoding="utf-8")
    relabel(recordings, lambda _, old: old)  # written anew with the same content
    ecgnb.evaluate(run)
    assert run.metrics == metrics and run.states()["evaluate"] == "done"


def test_recordings_that_are_gone_are_named_and_the_numbers_are_still_shown(
    project: Path, recordings: Path, capsys, monkeypatch
) -> None:
    run = job(DATASET_DIR=str(recordings))
    shutil.rmtree(recordings)
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    assert len(ecgnb.evaluate(run)) > 0
    assert (
        "whether recordings or labels changed is not known" in capsys.readouterr().out
    )


def test_a_new_recording_is_not_left_out_of_a_split_silently(
    project: Path, recordings: Path
) -> None:
    records = sorted((recordings / "records").glob("*.hea"))
    table = (recordings / MAPPING).read_text(encoding="utf-8")
    hidden = [path.rename(f"{path}.kept") for path in records[-2:]]
    run = job(DATASET_DIR=str(recordings))
    for path in hidden:
        path.rename(path.with_suffix(""))
    assert (recordings / MAPPING).read_text(encoding="utf-8") == table
    ecgnb.load_cohort(run)
    with pytest.raises(StageError, match=r"after stage 'prepare'.*ecgnb\.prepare"):
        ecgnb.split(run)
