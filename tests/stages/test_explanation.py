"""Explaining a trained model's answer on a recording of one's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ecgnb
from ecgnb.data.demo import synthesise
from ecgnb.data.recording import Recording
from ecgnb.data.standardise import standardise
from ecgnb.deploy.predict import model_input
from ecgnb.errors import ConfigError, LabelError, ReadError
from ecgnb.explain import EXPLAINERS, explain
from ecgnb.stages.explanation import explain_recording
from ecgnb.stages.predict import find_bundle


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "grad_cam", "lrp_epsilon_std"])
def test_explanation_is_of_what_the_model_saw(finished_run, method) -> None:
    recording = synthesise(1)
    found = explain_recording(recording, finished_run, method)
    bundle = find_bundle(finished_run)
    row = ecgnb.predict(recording, run=finished_run).iloc[0]
    assert found.target == max(bundle.classes, key=lambda name: row[name])
    assert found.probabilities == {name: row[name] for name in bundle.classes}
    ready = standardise(recording, bundle.prepare)
    np.testing.assert_array_equal(found.recording.signal, ready.signal)
    expected = explain(bundle.model, model_input(bundle, ready), method, bundle.classes.index(found.target))[0]
    np.testing.assert_allclose(found.attribution, expected.numpy(), rtol=1e-5, atol=1e-7)
    assert np.abs(found.attribution).max() > 0


def test_explanation_of_another_class_is_another(finished_run) -> None:
    recording = synthesise(1)
    classes = find_bundle(finished_run).classes
    first, second = (explain_recording(recording, finished_run, "gradient", name).attribution for name in classes[:2])
    assert np.abs(first - second).max() > 1e-6


def test_explanation_table_tells_each_leads_share(finished_run) -> None:
    table = explain_recording(synthesise(1), finished_run, "gradient_x_input").table()
    assert table["share"].sum() == pytest.approx(1.0) and len(table) == 12
    assert ((table["largest_at_s"] >= 0) & (table["largest_at_s"] < 10)).all()
    over_time = explain_recording(synthesise(1), finished_run, "grad_cam").table()
    np.testing.assert_allclose(over_time["share"], 1 / 12)


def test_explanation_refuses_what_it_cannot_do(finished_run) -> None:
    recording = synthesise(1)
    with pytest.raises(LabelError, match=r"no class 'NRM'\. Did you mean 'NORM'"):
        explain_recording(recording, finished_run, target="NRM")
    with pytest.raises(ConfigError, match=r"gradient_x_inptu.*Did you mean 'gradient_x_input'"):
        explain_recording(recording, finished_run, "gradient_x_inptu")
    assert "grad_cam" in EXPLAINERS
    silent = Recording(np.zeros((12, 5000), np.float32), 500.0, recording.leads, "silent")
    with pytest.raises(ReadError, match="constant"):
        explain_recording(silent, finished_run)


def test_explanation_shows_where_the_relevance_is(finished_run) -> None:
    found = explain_recording(synthesise(1), finished_run, "gradient_x_input")
    fs = found.recording.fs
    attribution = np.zeros((12, int(30 * fs)), np.float32)
    attribution[3, int(22 * fs) : int(24 * fs)] = -1.0
    longer = dataclasses.replace(found.recording, signal=np.zeros_like(attribution))
    moved = dataclasses.replace(found, recording=longer, attribution=attribution)
    assert 14.0 <= moved.densest_second() <= 20.0 and found.densest_second() == 0.0


def test_explanation_is_shown_on_paper(finished_run, tmp_path) -> None:
    file = tmp_path / "explanation.png"
    table = ecgnb.show.explanation(synthesise(1), run=finished_run, method="lrp_epsilon_std", save_to=file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert list(table.columns) == ["lead", "share", "largest_at_s"]
