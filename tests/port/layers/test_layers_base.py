"""Rules of all layers: options that are honoured, without effect, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from layer_graphs import (
    NEEDED,
    graph_of,
    layer,
    refusal,
)
from zoo_cases import ZOO, ZooModel, check_model, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port import port_keras, ported
from ecgnb.port.build import (
    problems_in,
)
from ecgnb.port.layers import LAYERS

#: Names of old versions and of several GPUs for layers that are there under their usual
#: name.
NOT_IN_THE_ZOO = {
    "BatchNormalizationV1",
    "CuDNNGRU",
    "CuDNNLSTM",
    "SyncBatchNormalization",
}


def test_layers_of_every_class_occur_in_the_zoo() -> None:
    models = {(model.case, model.keras): model for model in zoo_models()}.values()
    met = {name for model in models for name in model.classes}
    classes = {name for name in LAYERS if not name.startswith("op:")}
    assert classes - met == NOT_IN_THE_ZOO & classes


@pytest.mark.parametrize("model", zoo_models("conv_odd", "activations_dense"), ids=str)
def test_layers_compared_would_show_a_wrong_weight(
    model: ZooModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ZooModel.port

    def spoiled(self: ZooModel, input_layout: str = "NTC") -> Any:
        port = whole(self, input_layout)
        with torch.no_grad():
            next(iter(port.parameters())).mul_(1.001)
        return port

    monkeypatch.setattr(ZooModel, "port", spoiled)
    with pytest.raises(AssertionError):
        check_model(model)


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if not name.startswith("op:")]
)
def test_layers_refuse_unknown_options_and_values_that_have_no_port(name: str) -> None:
    needed = NEEDED.get(name, {})
    said = refusal(graph_of(layer(name, **{**needed, "beat": 3})))
    assert f"layer_0 ({name}): beat=3 is an option unknown to the port" in said
    assert "nothing was built" in said
    for option in LAYERS.get(name).only:
        said = refusal(graph_of(layer(name, **{**needed, option: "another"})))
        assert f"layer_0 ({name}): {option}='another' (only " in said


COUNT, TOO_MANY = "only a whole number from 1 on", "is more than a port builds"


REFUSED: list[tuple[str, int, dict[str, Any], str]] = [
    (
        "activation",
        3,
        layer("Dense", units=2, activation="sparsemax"),
        "activation='sparsemax' is unknown to the port",
    ),
    (
        "newer activation",
        2,
        layer("Activation", activation="hard_silu"),
        "activation='hard_silu' is unknown",
    ),
    (
        "function",
        3,
        layer(
            "Conv1D",
            filters=2,
            activation={"class_name": "function", "config": "swish"},
        ),
        "activation is the function 'swish', whose code is not ported from a file",
    ),
    (
        "class",
        3,
        layer(
            "Dense",
            units=2,
            activation={
                **layer("ReLU"),
                "module": None,
                "registered_name": "mine>ReLU",
            },
        ),
        "activation='mine>ReLU' is a layer that",
    ),
    (
        "lambda",
        3,
        layer("Activation", activation={"value": ["4wEA", None, None]}),
        "activation is the function 'lambda'",
    ),
    (
        "weights within",
        2,
        layer("Dense", units=2, activation=layer("PReLU")),
        "activation='PReLU' is a layer that",
    ),
    (
        "option within",
        2,
        layer("Dense", units=2, activation=layer("ELU", beat=1)),
        "activation=ELU: beat=1 is an option",
    ),
    (
        "padding",
        2,
        layer("Conv1D", filters=2, padding="full"),
        "padding='full' (only 'valid', 'same', 'causal')",
    ),
    (
        "causal",
        2,
        layer("DepthwiseConv1D", padding="causal"),
        "padding='causal' (only 'valid', 'same')",
    ),
    (
        "two axes",
        2,
        layer("BatchNormalization", axis=[1, 2]),
        "axis=[1, 2] (only one, and not the batch)",
    ),
    (
        "axes order",
        2,
        layer("LayerNormalization", axis=[2, 1]),
        "axis=[2, 1] (only in ascending order",
    ),
    (
        "group axis",
        3,
        layer("GroupNormalization", axis=-2),
        "axis=-2 (only -1, or counted from the front",
    ),
    ("rms axis", 3, layer("RMSNormalization", axis=1), "axis=1 (only -1)"),
    ("batch", 2, layer("Dot", axes=[0, 1]), "axes=[0, 1] (the batch, axis 0, stays)"),
    (
        "noise",
        2,
        layer("Dropout", rate=0.1, noise_shape=[None, None, 1]),
        "noise_shape=[None, None, 1] (only None, or",
    ),
    (
        "rows",
        3,
        layer("Rescaling", scale=[[1.0], [2.0]]),
        "scale=[[1.0], [2.0]] (only one number",
    ),
    (
        "half",
        2,
        layer("Dense", units=2, dtype="mixed_float16"),
        "dtype='mixed_float16' computes in fewer bits",
    ),
    (
        "quantised",
        3,
        layer(
            "Dense",
            units=2,
            dtype=layer("QuantizedDTypePolicy", mode="int8", source_name="float32"),
        ),
        "dtype='int8' computes in fewer bits",
    ),
    ("conv2d", 2, layer("Conv2D", filters=2), "(Conv2D): a class unknown to the port"),
]


REFUSED += [
    (
        f"{name} {option} {value}",
        3,
        layer(name, **{**NEEDED.get(name, {}), option: value}),
        f"{option}={value!r} {why}",
    )
    for name, option, value, why in [
        ("Conv1D", "strides", [-1], f"({COUNT}"),
        ("Conv1D", "strides", [2, 3], f"({COUNT}"),
        ("Conv1D", "groups", 0, f"({COUNT}"),
        ("Conv1D", "filters", -4, f"({COUNT}"),
        ("Conv1D", "filters", 10_000_001, TOO_MANY),
        ("Conv1D", "kernel_size", [0], f"({COUNT}"),
        ("Conv1DTranspose", "dilation_rate", 0, f"({COUNT}"),
        ("SeparableConv1D", "depth_multiplier", 0, f"({COUNT}"),
        ("MaxPooling1D", "pool_size", [0], f"({COUNT}"),
        ("AveragePooling1D", "strides", 0, f"({COUNT}"),
        ("Dense", "units", 0, f"({COUNT}"),
        ("Dense", "units", 2.5, f"({COUNT}"),
        ("Dense", "units", True, f"({COUNT}"),
        ("Dense", "units", 10**12, TOO_MANY),
        ("Embedding", "output_dim", 10**9, TOO_MANY),
        ("GroupNormalization", "groups", 0, f"({COUNT}"),
        ("Dropout", "rate", 5, "(only a probability from 0 to 1)"),
        ("SpatialDropout1D", "rate", -0.1, "(only a probability from 0 to 1)"),
        ("AlphaDropout", "rate", float("nan"), "(only a probability from 0 to 1)"),
        ("ReLU", "max_value", -1.0, "(only from 0 on)"),
    ]
]


@pytest.mark.parametrize(
    ("keras", "given", "said"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_layers_refuse_with_the_reason(
    keras: int, given: dict[str, Any], said: str
) -> None:
    message = refusal(graph_of(given, keras=keras))
    assert said in message
    assert f"layer_0 ({given['class_name']})" in message


@pytest.mark.parametrize(
    ("registered", "said"),
    [("mine>Dense", "layer_0 (mine>Dense)"), ("Dense", "layer_0 (custom>Dense)")],
)
def test_layers_of_others_with_a_name_of_keras_are_refused(
    registered: str, said: str
) -> None:
    given = {**layer("Dense", units=2), "module": None, "registered_name": registered}
    assert f"{said}: a class unknown to the port" in refusal(graph_of(given, keras=3))


def test_layers_refused_stop_a_port_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = next(each for each in zoo_models("conv_") if each.container == "json")
    config = (ZOO / model.files[0]).read_text(encoding="utf-8")
    (tmp_path / "model.json").write_text(
        config.replace("channels_last", "channels_first", 1), encoding="utf-8"
    )
    monkeypatch.setattr(
        ported, "build_port", lambda *_: pytest.fail("something was built")
    )
    with pytest.raises(
        PortError,
        match=r"\(Conv1D\): data_format='channels_first' \(only 'channels_last', None\)",
    ):
        port_keras(tmp_path / "model.json", weights=ZOO / model.files[1])


def test_layers_counts_are_taken_up_to_the_largest_and_left_out_where_keras_has_a_default() -> (
    None
):
    for given in (
        layer("Dense", units=10_000_000),
        layer("MaxPooling1D", pool_size=[2], strides=None),
        layer("GroupNormalization", groups=-1),
        layer("Dropout", rate=1),
    ):
        assert problems_in(graph_of(given, keras=3)) == []
