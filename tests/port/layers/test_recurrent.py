"""Recurrent layers against Keras and their equations; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layer_graphs import filled, random_arrays, sequential
from layer_graphs import named_layer as layer
from torch import nn
from zoo_cases import ZooModel, check_model, difference, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port.build import (
    problems_in,
    refuse_unknown,
)
from ecgnb.port.modules.keras_recurrent import SteppedRNN
from ecgnb.port.ported import build_port
from ecgnb.port.reading.graph import parse_graph


@pytest.mark.parametrize("model", zoo_models("recurrent_"), ids=str)
def test_recurrent_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


INNER = {"class_name": "LSTM", "config": {"name": "inner", "units": 2}}


REFUSED = {
    "stateful=True (only False)": layer("LSTM", units=2, stateful=True),
    "time_major=True (only False)": layer("GRU", units=2, time_major=True),
    "activation='hard_tanh' is unknown": layer("LSTM", units=2, activation="hard_tanh"),
    "recurrent_activation='softmax' is unknown": layer(
        "GRU", units=2, recurrent_activation="softmax"
    ),
    "(RNN): a class unknown": layer(
        "RNN", cell={"class_name": "LSTMCell", "config": {"units": 2}}
    ),
    "(ConvLSTM1D): a class unknown": layer("ConvLSTM1D", filters=2, kernel_size=3),
    "merge_mode='max' (only": layer("Bidirectional", layer=INNER, merge_mode="max"),
    "it wraps a Dense": layer(
        "Bidirectional", layer=layer("Dense", "inner", units=2), merge_mode="sum"
    ),
    "layer/inner (LSTM): stateful=True": layer(
        "Bidirectional",
        layer=layer("LSTM", "inner", units=2, stateful=True),
        merge_mode="sum",
    ),
    "layer/inner (Lambda)": layer(
        "TimeDistributed", layer=layer("Lambda", "inner", function="x")
    ),
    "(Masking): a class unknown": layer("Masking", mask_value=0.0),
    "attention_axes=[1, 2] (only": layer(
        "MultiHeadAttention", num_heads=1, key_dim=2, attention_axes=[1, 2]
    ),
    "output_shape=[2, 3] (only one axis)": layer(
        "MultiHeadAttention", num_heads=1, key_dim=2, output_shape=[2, 3]
    ),
    "use_gate=True (only False)": layer(
        "MultiHeadAttention", num_heads=1, key_dim=2, use_gate=True
    ),
    "score_mode='general' (only": layer("Attention", score_mode="general"),
    "units=0 (only a whole number": layer("LSTM", units=0),
    "units=-2 (only a whole number": layer("CuDNNGRU", units=-2),
    "units=10000001 is more than": layer("GRU", units=10_000_001),
    "num_heads=0 (only a whole number": layer(
        "MultiHeadAttention", num_heads=0, key_dim=2
    ),
    "key_dim=100000000 is more than": layer(
        "MultiHeadAttention", num_heads=1, key_dim=10**8
    ),
    "value_dim=-1 (only a whole number": layer(
        "MultiHeadAttention", num_heads=1, key_dim=2, value_dim=-1
    ),
    "output_shape=[0] (only a whole number": layer(
        "MultiHeadAttention", num_heads=1, key_dim=2, output_shape=[0]
    ),
    "dropout=2.0 (only a probability": layer("Attention", dropout=2.0),
}


def test_layers_over_time_are_pytorchs_own_where_they_say_the_same() -> None:
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "simple": nn.RNN}
    for kind, module in kinds.items():
        for model in zoo_models(f"recurrent_{kind}"):
            port = model.port()
            plain = [
                "last",
                "sequences",
                "state",
                "backwards",
                "no_bias",
                "dropped",
                "unrolled",
            ]
            assert {type(getattr(port, name)) for name in plain} == {module}
    port = zoo_models("recurrent_gru")[0].port()
    assert {type(port.before), type(port.relu)} == {SteppedRNN}


def test_layers_over_time_need_no_node_a_step() -> None:
    graph = sequential(layer("LSTM", units=4, return_sequences=True), shape=(1000, 3))
    port = build_port(graph, {}, "2.6.0", "NTC")
    assert [node.op for node in port.graph.nodes].count("call_module") == 1
    assert isinstance(port.layer, nn.LSTM)


def test_layers_gru_with_the_reset_gate_before_is_cho_2014() -> None:
    arrays = {name: a.astype(np.float64) for name, a in random_arrays(3, (12,)).items()}
    x = np.random.default_rng(5).normal(size=(2, 7, 3))
    port = filled(
        sequential(layer("GRU", units=4, recurrent_activation="hard_sigmoid")), **arrays
    )
    (wz, wr, wh), (uz, ur, uh), (bz, br, bh) = (
        np.split(arrays[n], 3, -1) for n in ("kernel", "recurrent_kernel", "bias")
    )
    h = np.zeros((2, 4))
    for step in x.transpose(1, 0, 2):
        z = np.clip(0.2 * (step @ wz + h @ uz + bz) + 0.5, 0, 1)
        r = np.clip(0.2 * (step @ wr + h @ ur + br) + 0.5, 0, 1)
        h = z * h + (1 - z) * np.tanh(step @ wh + (r * h) @ uh + bh)
    assert difference(port(torch.from_numpy(x).float()), h) <= 1e-5


@pytest.mark.parametrize(("plain", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_layers_of_cudnn_hold_the_same_numbers_in_another_order(
    plain: str, gates: int
) -> None:
    arrays = random_arrays(gates, (16,) if plain == "LSTM" else (2, 12))
    x = torch.randn(2, 7, 3)
    wanted = filled(
        sequential(
            layer(plain, units=4, recurrent_activation="sigmoid", reset_after=True)
        )
        if plain == "GRU"
        else sequential(layer(plain, units=4, recurrent_activation="sigmoid")),
        **arrays,
    )(x)
    blocks = np.split(
        arrays["kernel"], gates, -1
    )  # as Keras' own converter between the classes has it
    cudnn = {
        "kernel": np.concatenate(
            [block.T.reshape(block.shape) for block in blocks], -1
        ),
        "recurrent_kernel": np.concatenate(
            [b.T for b in np.split(arrays["recurrent_kernel"], gates, -1)], -1
        ),
        "bias": np.concatenate([arrays["bias"] * 0.25, arrays["bias"] * 0.75])
        if plain == "LSTM"
        else arrays["bias"].reshape(-1),
    }
    got = filled(sequential(layer(f"CuDNN{plain}", units=4)), **cudnn)(x)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_layers_old_gru_has_its_reset_gate_before() -> None:
    port = build_port(sequential(layer("GRU", units=4)), {}, "2.1.0", "NTC")
    assert isinstance(port.layer, SteppedRNN) and port.layer.cell == "gru_reset_before"


@pytest.mark.parametrize(
    ("kind", "gates", "bias", "options", "said"),
    [
        ("GRU", 3, (2, 12), {"reset_after": False}, r"\[2, 12\].*\[12\]"),
        ("GRU", 3, (12,), {"reset_after": True}, r"\[12\].*\[2, 12\]"),
        ("GRU", 3, (1, 2, 12), {}, r"\[1, 2, 12\].*\[12\]"),
        ("LSTM", 4, (2, 16), {}, r"\[2, 16\].*\[16\]"),
        ("SimpleRNN", 1, (2, 4), {}, r"\[2, 4\].*\[4\]"),
        ("CuDNNLSTM", 4, (16,), {}, r"\[16\].*\[32\]"),
    ],
)
def test_layers_over_time_refuse_a_bias_of_another_layer(
    kind: str, gates: int, bias: tuple[int, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(
        PortError,
        match=rf"layer 'layer' \({kind}\) stores 'bias' with the shape {said}",
    ):
        filled(
            sequential(layer(kind, units=4, **options)), **random_arrays(gates, bias)
        )


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize("after", [False, True])
def test_layers_gru_without_the_option_is_told_by_its_bias_and_rebuilt_alike(
    keras: int, after: bool
) -> None:
    arrays, x = random_arrays(3, (2, 12) if after else (12,)), torch.randn(2, 7, 3)
    gru = {"units": 4, "recurrent_activation": "sigmoid", "trainable": True}
    wanted = filled(
        sequential(layer("GRU", reset_after=after, **gru), keras=keras), **arrays
    )(x)
    silent = layer("GRU", **gru)
    port = filled(sequential(silent, keras=keras), **arrays)
    assert torch.equal(port(x), wanted)
    again = build_port(sequential(silent, keras=keras), {}, f"{keras}.6.0", "NTC")
    again.load_state_dict(port.state_dict(), strict=True)
    assert torch.equal(again(x), wanted)


@pytest.mark.parametrize(("keras", "kind"), [(2, SteppedRNN), (3, nn.GRU)])
def test_layers_gru_without_option_and_bias_has_the_default_of_its_keras(
    keras: int, kind: type[nn.Module]
) -> None:
    graph = sequential(
        layer("GRU", units=4, use_bias=False, trainable=True), keras=keras
    )
    port = build_port(graph, {}, f"{keras}.0.0", "NTC")
    assert type(port.layer) is kind


@pytest.mark.parametrize(("said", "given"), REFUSED.items(), ids=REFUSED)
def test_layers_over_time_refuse_before_building(
    said: str, given: dict[str, Any]
) -> None:
    with pytest.raises(PortError, match="nothing was built") as error:
        refuse_unknown(sequential(given))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "kwargs", [{"training": True}, {"mask": ["ecg", 0, 0]}, {"constants": [1.0]}]
)
def test_layers_over_time_refuse_calls_that_change_their_meaning(
    kwargs: dict[str, Any],
) -> None:
    config = {
        "name": "model",
        "layers": [
            {
                **layer("InputLayer", "ecg", batch_input_shape=[None, 7, 3]),
                "name": "ecg",
                "inbound_nodes": [],
            },
            {
                **layer("LSTM", units=2),
                "name": "layer",
                "inbound_nodes": [[["ecg", 0, 0, kwargs]]],
            },
        ],
        "input_layers": [["ecg", 0, 0]],
        "output_layers": [["layer", 0, 0]],
    }
    (problem,) = problems_in(
        parse_graph({"class_name": "Functional", "config": config}, 2)
    )
    assert f"it is called with {next(iter(kwargs))}=" in problem
