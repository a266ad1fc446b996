"""The contract of a port: complete, in agreement with the model, and kept at
prediction."""

from __future__ import annotations

import ast
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ecgnb.core.errors import ConfigError, ReadError
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.deploy.inference import predict_recordings
from ecgnb.deploy.opening import bundle_of_port
from ecgnb.port.contract import KNOWN_CONTRACTS, contract_of
from ecgnb.port.ported import port_keras


@pytest.fixture(scope="module")
def avb(golden_dir):
    return port_keras(
        golden_dir / "keras/pathology_avb/model.json", contract="pathology_avb"
    )


def recording(
    fs: float = 500.0, seconds: float = 10.0, leads=STANDARD_12, scale: float = 1.0
) -> Recording:
    t = np.arange(int(fs * seconds)) / fs
    beats = np.exp(-(((t % 0.8) - 0.4) ** 2) / 0.0004)
    gains = {lead: 0.4 + 0.1 * number for number, lead in enumerate(STANDARD_12)}
    signal = (
        np.stack([gains.get(lead, 1.0) * beats for lead in leads]).astype(np.float32)
        * scale
    )
    return Recording(signal, fs, tuple(leads), record_id="r")


def test_contract_from_its_name_its_fields_or_itself():
    known = contract_of("pathology_avb")
    assert known is KNOWN_CONTRACTS["pathology_avb"] and contract_of(known) is known
    fields = dataclasses.asdict(known)
    assert (
        contract_of(
            {
                **fields,
                "leads": list(fields["leads"]),
                "classes": list(fields["classes"]),
            }
        )
        == known
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "mmHg"}, "units are 'mmHg'"),
        ({"task": "regression"}, "task is 'regression'"),
        ({"leads": ("I", "I")}, "name each once"),
        ({"classes": ()}, "name each once"),
        ({"fs": -1.0}, "TARGET_FS"),
        ({"filters": ({"name": "butterworth", "high": 400.0},)}, "butterworth needs"),
        ({"filter": ()}, "no field 'filter'"),
        ({"fs": "400"}, "cannot be read"),
        ({"filters": 3}, "cannot be read"),
        ({"leads": "ECG"}, "give a list of names"),
        ({"classes": (1, 2)}, "give a list of names"),
    ],
)
def test_contract_refuses_what_makes_no_sense(change, message):
    fields = dataclasses.asdict(KNOWN_CONTRACTS["ribeiro"])
    with pytest.raises(ConfigError, match=message):
        contract_of({**fields, **change})


def test_contract_lacks_a_field_or_has_an_unknown_name():
    with pytest.raises(ConfigError, match="lacks fs, n_samples"):
        contract_of({"leads": ("I",), "classes": ("a",)})
    with pytest.raises(ConfigError, match="Did you mean 'pathology_avb'"):
        contract_of("patology_avb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n_samples": 3000},
            "for 3000 samples of .* input 'conv1d_input' has the shape .*2000",
        ),
        ({"leads": ("I", "II")}, "samples of 2 leads; .* 12]"),
        ({"classes": ("a", "b", "c")}, "names 3 classes .* has 2"),
    ],
)
def test_contract_that_contradicts_the_model_is_refused(golden_dir, change, message):
    contract = dataclasses.replace(KNOWN_CONTRACTS["pathology_avb"], **change)
    with pytest.raises(ConfigError, match=message):
        port_keras(golden_dir / "keras/pathology_avb/model.keras", contract=contract)


@pytest.mark.parametrize(
    ("model", "contract"),
    [
        ("pathology_avb/model.keras", "multilabel"),
        ("ribeiro_small/model.keras", "multiclass"),
    ],
)
def test_contract_of_another_task_than_the_activation_is_refused(
    golden_dir, model, contract
):
    known = KNOWN_CONTRACTS["pathology_avb" if "avb" in model else "ribeiro"]
    with pytest.raises(
        ConfigError,
        match=rf"task is '{contract}'; the model's first output ends in a s",
    ):
        port_keras(
            golden_dir / "keras" / model,
            contract=dataclasses.replace(known, task=contract),
        )


def test_contract_is_needed_for_a_bundle(golden_dir):
    with pytest.raises(
        ConfigError,
        match="does not contain rate, units, lead order, filters and classes",
    ):
        bundle_of_port(port_keras(golden_dir / "keras/generic_ecg/model.keras"))


def test_contract_is_kept_at_prediction(avb):
    """Rate, order of leads and unit of the file do not matter; what the model sees is
    what it was trained with."""
    bundle = bundle_of_port(avb)
    expected = predict_recordings(bundle, recording())
    shuffled = [
        STANDARD_12[number] for number in (3, 1, 0, 2, 11, 10, 9, 8, 7, 6, 5, 4)
    ]
    np.testing.assert_allclose(
        predict_recordings(bundle, recording(leads=shuffled))["AVB"],
        expected["AVB"],
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        predict_recordings(bundle, recording(fs=1000.0))["AVB"],
        expected["AVB"],
        atol=0.02,
    )
    assert "cropped:10 s to 4 s" in expected["flags"].iloc[0]
    assert (
        "padded:3 s to 4 s"
        in predict_recordings(bundle, recording(seconds=3.0))["flags"].iloc[0]
    )
    with pytest.raises(ReadError, match="no values in lead V6"):
        predict_recordings(bundle, recording(leads=STANDARD_12[:-1]))


def test_contract_in_microvolts_scales_the_signal(golden_dir):
    seen = []
    for units in ("mV", "uV", "V"):
        contract = dataclasses.replace(KNOWN_CONTRACTS["ribeiro"], units=units)
        bundle = bundle_of_port(
            port_keras(
                golden_dir / "keras/ribeiro_small/model.keras", contract=contract
            )
        )
        bundle.model.register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].abs().max().item())
        )
        predict_recordings(bundle, recording(fs=400.0))
    assert seen[1] == pytest.approx(1000 * seen[0]) and seen[2] == pytest.approx(
        seen[0] / 1000
    )


def test_contract_goes_with_the_bundle(avb, tmp_path):
    bundle = bundle_of_port(avb)
    again = load_bundle(save_bundle(bundle, tmp_path / "bundle"))
    assert again.prepare == bundle.prepare and again.classes == ("no AVB", "AVB")
    pd.testing.assert_frame_equal(
        predict_recordings(again, recording()), predict_recordings(bundle, recording())
    )
    assert "CC BY 4.0" in again.provenance["source"]


@pytest.mark.slow
def test_contract_order_of_the_classes_on_patients(avb, data_dir):
    """Output 1 is the AV block: the order that circulates is the reverse."""
    table = pd.read_csv(data_dir / "ptbxl/ptbxl_database.csv")
    codes = table["scp_codes"].map(lambda text: set(ast.literal_eval(text)))
    block = codes.map(lambda found: bool(found & {"1AVB", "2AVB", "3AVB"}))
    files = [data_dir / "ptbxl" / f"{name}.hea" for name in table["filename_lr"]]
    there = pd.Series([file.is_file() for file in files])
    chosen = table[there & (block | (table.index % 4 == 0))].index
    found = predict_recordings(bundle_of_port(avb), [files[row] for row in chosen])
    assert (
        len(found) > 60 and block[chosen].sum() >= 5 and (found["problem"] == "").all()
    )
    assert roc_auc_score(block[chosen], found["AVB"]) > 0.9


def test_contract_shape_of_a_tensor_is_checked(avb):
    with pytest.raises(
        ConfigError,
        match=r"must be a tensor of shape \[B, 2000, 12\] \(NTC\); it was given \[1, 3000, 12\]",
    ):
        avb(torch.zeros(1, 3000, 12))
    with pytest.raises(ConfigError, match="takes 1 inputs"):
        avb(torch.zeros(1, 2000, 12), torch.zeros(1))
