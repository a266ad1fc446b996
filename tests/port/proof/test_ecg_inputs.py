from __future__ import annotations

import numpy as np
from pairs import golden_pair, zoo_pair

from ecgnb.port import port_keras
from ecgnb.port.proof.ecg_inputs import ecg_like_inputs


def test_ecg_inputs_look_like_ecgs(golden_dir) -> None:
    port, _ = golden_pair(golden_dir, "pathology_avb")
    made = ecg_like_inputs(port, seed=3)["conv1d_input"]
    assert made.shape == (4, 2000, 12) and made.dtype == np.float32
    assert 0.3 < np.abs(made[::2]).max() < 5  # millivolt
    assert (
        np.abs(made[1::2]).max() > np.abs(made[::2]).max()
    )  # to open what plain ECGs leave shut
    assert (
        np.abs(made[:, :, 2] - (made[:, :, 1] - made[:, :, 0])).max() < 1e-2
    )  # III = II - I
    spread = np.abs(np.diff(made[:, :, 1], axis=1))
    assert np.quantile(spread, 0.99) > 5 * np.median(spread)  # QRS complexes, not noise
    assert not np.array_equal(made[0], made[1])


def test_ecg_inputs_repeat_and_differ_by_seed(golden_dir) -> None:
    port, _ = golden_pair(golden_dir, "generic_ecg")
    one, again, other = (
        ecg_like_inputs(port, seed)["conv1d_input"] for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_ecg_inputs_are_in_keras_layout_whatever_the_port_takes(golden_dir) -> None:
    port = port_keras(
        golden_dir / "keras" / "ribeiro_small" / "model.keras", input_layout="NCT"
    )
    assert ecg_like_inputs(port)["signal"].shape == (4, 4096, 12)


def test_ecg_inputs_longer_than_a_recording_go_on(golden_dir) -> None:
    port, _ = golden_pair(golden_dir, "ribeiro_small")
    assert np.abs(ecg_like_inputs(port)["signal"][:, 4000:]).max() > 0


def test_ecg_inputs_of_every_kind() -> None:
    tokens, _ = zoo_pair("embedding")
    made = ecg_like_inputs(tokens)["tokens"]
    assert (
        made.dtype == np.int32
        and made.min() >= 0
        and made.max() < tokens.embedding.num_embeddings
    )
    several, _ = zoo_pair("inputs_outputs")
    made = ecg_like_inputs(several)
    assert {name: values.shape for name, values in made.items()} == {
        "signal": (4, 20, 3),
        "age": (4, 2),
        "lead": (4, 20, 1),
    }
    assert np.abs(made["signal"]).max() > 0.3  # a whole beat, at a lower rate
    beats, _ = zoo_pair("time_distributed")
    assert ecg_like_inputs(beats)["beats"].shape == (4, 4, 13, 2)
