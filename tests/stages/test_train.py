"""Training as a stage: parameters, progress and the loader of the configuration."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np

import ecgnb
from ecgnb.stages.split import patient_groups
from ecgnb.stages.train import build_loader


def test_the_patient_sampler_pairs_the_records_of_patients(finished_run) -> None:
    training = dataclasses.replace(
        finished_run.config.training, sampler="patient", window_samples=500
    )
    run = SimpleNamespace(
        config=dataclasses.replace(finished_run.config, training=training),
        store=finished_run.store,
        records=finished_run.records,
        splits=finished_run.splits,
        classes=finished_run.classes,
        task=finished_run.task,
    )
    patients = patient_groups(run.records)

    def count_pairs(loader) -> int:
        batches = [batch.index.numpy() for batch in loader.epoch(0)]
        return sum(len(rows) - len(np.unique(patients[rows])) for rows in batches)

    paired = build_loader(run, "train", shuffle=True)
    shuffled = build_loader(finished_run, "train", shuffle=True)
    assert count_pairs(paired) > 2 * count_pairs(shuffled)
    assert next(paired.epoch(0)).windows.shape[1:] == (2, 12, 500)


def test_the_training_cells_run_for_their_profile_only(
    finished_run, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    assert ecgnb.train(finished_run, when="full") is None
    assert (
        capsys.readouterr().out
        == "Skipped: this cell trains PROFILE 'full', not 'smoke'.\n"
    )
    assert list(ecgnb.train(finished_run, when="smoke")["epoch"]) == [1, 2]


def test_the_log_holds_one_line_per_epoch(finished_run) -> None:
    text = finished_run.log_file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "train loss" in line]
    assert len(lines) == 2 and all(
        "records/s" in line and "macro f1" in line for line in lines
    )
