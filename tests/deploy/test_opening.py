"""Checkpoints of ECG-FM as bundles: the published recipe by hand, names, aggregation, a
fresh process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from commands import run_in_new_process

import ecgnb
from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.files import read_json
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.deploy.opening import bundle_of_ecg_fm, open_bundle
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.foundation.recipe import MIMIC
from ecgnb.foundation.stand_in import SMALL, stand_in

ORDER = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def by_hand(header: Path) -> np.ndarray:
    """Return the windows ``[n, 12, 2500]`` of a record as the published scripts make
    them."""
    record = wfdb.rdrecord(str(header.with_suffix("")))
    names = [name.replace("AV", "aV") for name in record.sig_name]
    signal = record.p_signal.T[[names.index(lead) for lead in ORDER]]
    n = signal.shape[1]
    n_new = int(n * 500 / record.fs)
    signal = np.stack(
        [
            np.interp(np.arange(n_new), np.linspace(0, n_new - 1, n), lead)
            for lead in signal
        ]
    )
    deviation = signal.std(axis=1, keepdims=True)
    signal = (signal - signal.mean(axis=1, keepdims=True)) / np.where(
        deviation > 0, deviation, 1
    )
    return np.stack(
        [signal[:, start : start + 2500] for start in range(0, n_new - 2499, 2500)]
    ).astype(np.float32)


@pytest.mark.parametrize("folder", ["records500", "records100"])
def test_predictions_are_the_published_recipe_by_hand(
    golden_dir, data_dir, folder
) -> None:
    checkpoint = golden_dir / "ecg_fm" / "finetuned.pt"
    headers = sorted((data_dir / "ptbxl" / folder).rglob("*.hea"))[:4]
    inference = ecgnb.infer_recordings(headers, run=str(checkpoint), embeddings=True)
    model = load_ecg_fm(checkpoint)
    for number, header in enumerate(headers):
        windows = torch.from_numpy(by_hand(header))
        with torch.inference_mode():
            probabilities, embeddings = (
                model(windows).sigmoid().numpy(),
                model.embed(windows).numpy(),
            )
        rows = inference.windows["record_id"] == header.stem
        assert rows.sum() == len(windows) == 2
        assert (
            np.abs(
                inference.windows.loc[rows, list(MIMIC)].to_numpy() - probabilities
            ).max()
            <= 2e-6
        )
        assert np.abs(inference.embeddings[rows.to_numpy()] - embeddings).max() <= 5e-6
        largest = np.array([how == "max" for how in MIMIC.values()])
        joined = np.where(largest, probabilities.max(0), probabilities.mean(0))
        assert (
            np.abs(
                inference.table.loc[number, list(MIMIC)].to_numpy(dtype=float) - joined
            ).max()
            <= 2e-6
        )


def write_table(output: Path, headers: list[str], folder: Path) -> None:
    table = ecgnb.predict(headers, run=str(folder))
    output.write_text(table.to_json(double_precision=15), encoding="utf-8")


def test_a_bundle_predicts_the_same_bit_for_bit_in_a_fresh_process(
    small, data_dir, tmp_path
) -> None:
    headers = [
        str(path)
        for path in sorted((data_dir / "ptbxl" / "records500").rglob("*.hea"))[:3]
    ]
    bundle = open_bundle(small)
    folder = save_bundle(bundle, tmp_path / "bundle")
    expected = ecgnb.predict(headers, run=str(small))
    small.unlink()  # the bundle stands alone
    run_in_new_process(write_table, tmp_path / "table.json", headers, folder)
    result = read_json(tmp_path / "table.json")
    assert list(result) == list(expected.columns)
    same = json.loads(expected.to_json(double_precision=15))
    assert {name: result[name] for name in MIMIC} == {
        name: same[name] for name in MIMIC
    }
    again = load_bundle(folder)
    assert again.classes == tuple(MIMIC) and again.aggregate == tuple(MIMIC.values())
    assert all(
        torch.equal(value, again.model.state_dict()[name])
        for name, value in bundle.model.state_dict().items()
    )
    assert again.provenance["checkpoint"] == "small.pt"
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\n")


def test_a_pretrained_bundle_embeds_and_does_not_predict(tmp_path, data_dir) -> None:
    checkpoint = stand_in(tmp_path / "pretrained.pt", optimizer=False, **SMALL)
    header = next((data_dir / "ptbxl" / "records500").rglob("*.hea"))
    folder = save_bundle(open_bundle(checkpoint), tmp_path / "bundle")
    one = ecgnb.infer_recordings(header, run=str(checkpoint))
    two = ecgnb.infer_recordings(header, run=str(folder))
    assert one.embeddings.shape == (2, 64) and np.array_equal(
        one.embeddings, two.embeddings
    )
    with pytest.raises(ConfigError, match="no classifier"):
        ecgnb.predict(header, run=str(folder))


def test_heads_that_were_not_published_need_names(tmp_path) -> None:
    checkpoint = stand_in(tmp_path / "three.pt", n_classes=3, optimizer=False, **SMALL)
    with pytest.raises(
        ConfigError, match="3 outputs, and no checkpoint has their names"
    ):
        open_bundle(checkpoint)
    assert open_bundle(checkpoint, classes=["a", "b", "c"]).aggregate == ("mean",) * 3
    with pytest.raises(
        ConfigError, match=r"3 outputs; it was given the names \['a', 'a', 'b'\]"
    ):
        bundle_of_ecg_fm(load_ecg_fm(checkpoint), ["a", "a", "b"])


def test_a_label_is_called_from_a_probability_of_one_half(small) -> None:
    assert open_bundle(small).thresholds == (0.5,) * 17


def test_what_is_no_model_is_refused(tmp_path) -> None:
    page = tmp_path / "page.pt"
    page.write_text("<html>sign in</html>", encoding="utf-8")
    for position, message in (
        (page, "web page"),
        (tmp_path, "has no readable bundle.json"),
        (tmp_path / "none", "no"),
    ):
        with pytest.raises(CheckpointError, match=message):
            open_bundle(position)
