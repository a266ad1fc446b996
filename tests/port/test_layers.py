"""The layer rules against Keras: tiny real models with every layer's golden output, and
what is refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from zoo_cases import ZOO, ZooModel, check_model, difference, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.explain.kinds import KINDS
from ecgnb.port import PortedModel, port_keras, ported
from ecgnb.port.build import load_state, problems_in, refuse_unknown, state_of
from ecgnb.port.layers import LAYERS
from ecgnb.port.modules import basic
from ecgnb.port.modules import keras_activation as activation_modules
from ecgnb.port.modules import keras_merge as merge_modules
from ecgnb.port.modules import keras_normalisation as normalisation
from ecgnb.port.modules.basic import GaussianDropout, GaussianNoise, SeparableConv1d
from ecgnb.port.ported import build_port, major
from ecgnb.port.reading.graph import Graph, parse_graph

FAMILIES = (
    "activation",
    "conv_",
    "embedding",
    "merge",
    "norm_",
    "pooling",
    "regularisation",
    "shapes",
)
#: Names of old versions and of several GPUs for layers that are there under their usual
#: name.
NOT_IN_THE_ZOO = {
    "BatchNormalizationV1",
    "CuDNNGRU",
    "CuDNNLSTM",
    "SyncBatchNormalization",
}
#: What a layer cannot be without.
NEEDED: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "relu"},
    "Dot": {"axes": 1},
    "Dropout": {"rate": 0.1},
}


def layer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": config}


def graph_of(
    *layers: dict[str, Any], keras: int = 2, shape: tuple[int, ...] = (20, 4)
) -> Graph:
    """Return a Sequential model of layers, which are called layer_0, layer_1 and so
    on."""
    first = {
        "class_name": "InputLayer",
        "config": {"name": "ecg", "batch_input_shape": [None, *shape]},
    }
    named = [
        {
            **each,
            "config": {"name": f"layer_{place}", "trainable": True, **each["config"]},
        }
        for place, each in enumerate(layers)
    ]
    return parse_graph(
        {
            "class_name": "Sequential",
            "config": {"name": "model", "layers": [first, *named]},
        },
        keras,
    )


def port_of(graph: Graph, **arrays: np.ndarray) -> PortedModel:
    """Port a graph whose first layer has these arrays."""
    refuse_unknown(graph)
    if arrays:
        graph.layers["layer_0"].arrays.update(arrays)
    port = build_port(graph, {}, "2.6.0", "NTC")
    load_state(port, state_of(graph, port.origin.modules))
    return port


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1.5, shape).astype(np.float32)


def answer(port: PortedModel, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return port(torch.from_numpy(x)).numpy()


def refusal(graph: Graph) -> str:
    with pytest.raises(PortError) as caught:
        refuse_unknown(graph)
    return str(caught.value)


@pytest.mark.parametrize("model", zoo_models(*FAMILIES), ids=str)
def test_layers_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


@pytest.mark.parametrize("model", zoo_models(*FAMILIES), ids=str)
def test_layers_in_channels_first_layout_give_the_same_numbers(model: ZooModel) -> None:
    with torch.no_grad():
        one, other = model.port()(*model.fed()), model.port("NCT")(*model.fed("NCT"))
    pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    assert (
        max(difference(first, second.detach().numpy()) for first, second in pairs)
        <= 1e-6
    )


def test_layers_of_every_class_occur_in_the_zoo() -> None:
    met = {name for model in zoo_models() for name in model.classes}
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


@pytest.mark.parametrize("model", zoo_models(*FAMILIES), ids=str)
def test_layers_are_rebuilt_from_configuration_and_state_alone(model: ZooModel) -> None:
    port = model.port()
    config = json.loads(json.dumps(port.origin.config))
    again = build_port(
        parse_graph(config, major(port.origin.keras_version)),
        config,
        port.origin.keras_version,
        "NTC",
    )
    again.load_state_dict(port.state_dict(), strict=True)
    with torch.no_grad():
        one, other = port(*model.fed()), again(*model.fed())
    pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    assert all(torch.equal(first, second) for first, second in pairs)


ONLY = [
    (name, option)
    for name in LAYERS
    for option in LAYERS.get(name).only
    if not name.startswith("op:")
]


@pytest.mark.parametrize(
    ("name", "option"), ONLY, ids=[f"{name}-{option}" for name, option in ONLY]
)
def test_layers_refuse_values_that_have_no_port(name: str, option: str) -> None:
    said = refusal(
        graph_of(
            {"class_name": name, "config": {**NEEDED.get(name, {}), option: "another"}}
        )
    )
    assert f"layer_0 ({name}): {option}='another' (only " in said
    assert "nothing was built" in said


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if not name.startswith("op:")]
)
def test_layers_refuse_options_they_do_not_know(name: str) -> None:
    graph = graph_of(
        {"class_name": name, "config": {**NEEDED.get(name, {}), "beat": 3}}
    )
    assert f"layer_0 ({name}): beat=3 is an option unknown to the port" in refusal(
        graph
    )


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

COUNT, TOO_MANY = "only a whole number from 1 on", "is more than a port builds"
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


def test_layers_masks_are_refused_only_where_one_is_used() -> None:
    embedding = layer("Embedding", input_dim=7, output_dim=3, mask_zero=True)
    assert problems_in(graph_of(embedding, layer("Flatten"), shape=(20,))) == []
    (problem,) = problems_in(
        graph_of(embedding, layer("GlobalAveragePooling1D"), shape=(20,))
    )
    assert problem.startswith(
        "layer_0 (Embedding): mask_zero=True makes a mask, which layer_1 may use"
    )


def test_layers_hard_sigmoid_is_that_of_the_keras_that_wrote_the_file() -> None:
    x = np.linspace(-4, 4, 81, dtype=np.float32).reshape(1, -1)
    of_keras = {2: np.clip(0.2 * x + 0.5, 0, 1), 3: np.clip(x / 6 + 0.5, 0, 1)}
    for keras, wanted in of_keras.items():
        port = port_of(
            graph_of(
                layer("Activation", activation="hard_sigmoid"), keras=keras, shape=(81,)
            )
        )
        np.testing.assert_allclose(answer(port, x), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("keras", "config", "slope"),
    [
        (2, {}, 0.3),
        (2, {"alpha": 0.10000000149011612}, 0.1),
        (2, {"alpha": {"type": "ndarray", "value": 0.25}}, 0.25),
        (3, {"negative_slope": 0.2}, 0.2),
    ],
)
def test_layers_leaky_relu_has_the_slope_of_either_keras(
    keras: int, config: dict[str, Any], slope: float
) -> None:
    port = port_of(graph_of(layer("LeakyReLU", **config), keras=keras))
    assert isinstance(port.layer_0, nn.LeakyReLU)
    assert port.layer_0.negative_slope == slope


def test_layers_relu_with_a_limit_of_0_gives_0_and_its_slope() -> None:
    x = noise(2, 20, 4)
    assert not answer(port_of(graph_of(layer("ReLU", max_value=0.0))), x).any()
    sloped = port_of(graph_of(layer("ReLU", max_value=0.0, negative_slope=0.25)))
    np.testing.assert_allclose(answer(sloped, x), np.minimum(0.25 * x, 0), atol=1e-6)


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


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("DepthwiseConv1D", {"use_bias": False}),
        ("SeparableConv1D", {"filters": 3, "use_bias": False}),
    ],
)
def test_layers_depthwise_kernels_split_otherwise_are_refused(
    name: str, own: dict[str, Any]
) -> None:
    graph = graph_of(layer(name, kernel_size=3, depth_multiplier=2, **own))
    stored = {"depthwise_kernel": noise(3, 8, 1), "pointwise_kernel": noise(1, 8, 3)}
    with pytest.raises(
        PortError, match=r"'layer_0'.*'depthwise_kernel'.*\[3, 8, 1\].*\[3, any, 2\]"
    ):
        port_of(graph, **stored)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (layer("LeakyReLU", alpha=0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (layer("ReLU", max_value=1.0, negative_slope=0.2, threshold=0.5), None),
        (layer("Activation", activation="tanh"), np.tanh),
        (
            layer("Softmax", axis=1),
            lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True),
        ),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else "",
)
def test_layers_take_a_layer_as_their_activation(
    given: dict[str, Any], wanted: Any
) -> None:
    """Keras' rule for a ReLU with all options: f(x) = max, x, or slope * (x -
    threshold)."""
    if wanted is None:
        wanted = lambda x: np.where(
            x >= 1.0, 1.0, np.where(x > 0.5, x, 0.2 * (x - 0.5))
        )  # noqa: E731
    graph = graph_of(layer("Dense", units=4, use_bias=False, activation=given))
    port = port_of(graph, kernel=np.eye(4, dtype=np.float32))
    x = noise(2, 20, 4)
    np.testing.assert_allclose(answer(port, x), wanted(x), atol=1e-6)
    assert "layer_0_activation" in dict(port.named_modules())


def transposed_by_hand(
    x: np.ndarray,
    kernel: np.ndarray,
    stride: int,
    dilation: int,
    left: int,
    length: int,
) -> np.ndarray:
    """Add every sample's kernel where it falls: [B, T, in], [K, out, in] -> [B, length,
    out]."""
    out = np.zeros((len(x), length, kernel.shape[1]))
    for t in range(x.shape[1]):
        for k in range(len(kernel)):
            place = t * stride + k * dilation - left
            if 0 <= place < length:
                out[:, place] += x[:, t] @ kernel[k].T
    return out


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("size", "stride", "dilation", "extra"),
    [(k, s, 1, None) for k in (1, 2, 3, 4, 5, 8) for s in (1, 2, 3, 5)]
    + [
        (3, 1, 2, None),
        (2, 1, 3, None),
        (4, 1, 2, None),
        (3, 2, 2, None),
        (4, 3, 1, 0),
        (4, 3, 1, 1),
        (5, 3, 1, 2),
    ],
)
def test_layers_transposed_convolution_is_the_gradient_of_a_convolution(
    padding: str, size: int, stride: int, dilation: int, extra: int | None
) -> None:
    """Lengths: ``deconv_output_length`` of Keras; the start: what TensorFlow pads
    before the forward convolution."""
    span, steps = (size - 1) * dilation + 1, 9
    if extra is None:
        length = steps * stride + (max(span - stride, 0) if padding == "valid" else 0)
    else:
        length = (
            (steps - 1) * stride
            + span
            + extra
            - (2 * (span // 2) if padding == "same" else 0)
        )
    left = max((steps - 1) * stride + span - length, 0) // 2 if padding == "same" else 0
    config = {
        "filters": 3,
        "kernel_size": [size],
        "strides": [stride],
        "dilation_rate": [dilation],
        "padding": padding,
    }
    graph = graph_of(
        layer("Conv1DTranspose", **config, output_padding=extra, use_bias=False),
        shape=(steps, 2),
    )
    kernel, x = noise(size, 3, 2), noise(2, steps, 2)
    wanted = transposed_by_hand(x, kernel, stride, dilation, left, length)
    assert (
        difference(torch.from_numpy(answer(port_of(graph, kernel=kernel), x)), wanted)
        <= 1e-6
    )


@pytest.mark.parametrize("size", [2, 3, 41, 47])
def test_layers_upsampling_repeats_every_sample(size: int) -> None:
    x = noise(1, 300, 2)
    port = port_of(graph_of(layer("UpSampling1D", size=size), shape=(300, 2)))
    assert np.array_equal(answer(port, x), x.repeat(size, axis=1))


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layers_batch_normalisation_of_beats_is_over_its_axis(axis: int) -> None:
    x = noise(2, 3, 5, 4)
    size = x.shape[axis]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = {name: np.abs(noise(size)) + place for place, name in enumerate(names)}
    across = [1, 1, 1, 1]
    across[axis] = size
    gamma, beta, mean, variance = (arrays[name].reshape(across) for name in names)
    port = port_of(
        graph_of(
            layer("BatchNormalization", axis=[axis], epsilon=0.1), shape=(3, 5, 4)
        ),
        **arrays,
    )
    np.testing.assert_allclose(
        answer(port, x), gamma * (x - mean) / np.sqrt(variance + 0.1) + beta, atol=1e-5
    )


@pytest.mark.parametrize("axes", [[3], [1, 2], [1, 3], [1, 2, 3]])
def test_layers_layer_normalisation_of_beats_is_over_its_axes(axes: list[int]) -> None:
    x = noise(2, 3, 5, 4)
    shape = tuple(x.shape[axis] for axis in axes)
    across = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    gamma, beta = noise(*shape), noise(*shape) + 1
    mean, variance = (
        x.mean(tuple(axes), keepdims=True),
        x.var(tuple(axes), keepdims=True),
    )
    port = port_of(
        graph_of(layer("LayerNormalization", axis=axes), shape=(3, 5, 4)),
        gamma=gamma,
        beta=beta,
    )
    wanted = (x - mean) / np.sqrt(variance + 1e-3) * gamma.reshape(
        across
    ) + beta.reshape(across)
    np.testing.assert_allclose(answer(port, x), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(-1, (1, 1, 4)), ([1, 2], (1, 20, 4)), ([1], (1, 20, 1)), (None, (1, 1, 1))],
)
def test_layers_normalization_uses_what_adapt_has_learnt(
    axis: Any, shape: tuple[int, ...]
) -> None:
    mean, variance, x = noise(*shape), np.abs(noise(*shape)) + 0.1, noise(2, 20, 4)
    stored = [size for size in shape if size > 1]
    arrays = {
        "mean": mean.reshape(stored),
        "variance": variance.reshape(stored),
        "count": np.array(8),
    }
    port = port_of(
        graph_of(layer("Normalization", axis=axis, mean=None, variance=None)), **arrays
    )
    np.testing.assert_allclose(
        answer(port, x), (x - mean) / np.sqrt(variance), atol=1e-5
    )
    back = port_of(graph_of(layer("Normalization", axis=axis, invert=True)), **arrays)
    np.testing.assert_allclose(answer(back, answer(port, x)), x, atol=1e-5)


@pytest.mark.parametrize(
    ("shared", "kind", "shape"),
    [
        ([1], nn.PReLU, (1, 4)),
        ([2], nn.PReLU, (20, 1)),
        ([1, 2], nn.PReLU, (1, 1)),
        (None, None, (20, 4)),
    ],
)
def test_layers_prelu_has_a_slope_for_each_place_that_is_not_shared(
    shared: Any, kind: Any, shape: Any
) -> None:
    alpha, x = np.abs(noise(*shape)), noise(2, 20, 4)
    port = port_of(graph_of(layer("PReLU", shared_axes=shared)), alpha=alpha)
    assert type(port.layer_0) is (kind or activation_modules.ParametricReLU)
    np.testing.assert_allclose(
        answer(port, x), np.where(x > 0, x, alpha * x), atol=1e-6
    )


def test_layers_embedding_cuts_floats_to_whole_numbers() -> None:
    table = noise(5, 3)
    port = port_of(
        graph_of(layer("Embedding", input_dim=5, output_dim=3), shape=(4,)),
        embeddings=table,
    )
    assert np.array_equal(
        answer(port, np.array([[0.0, 1.9, 4.0, 2.5]], np.float32)),
        table[[0, 1, 4, 2]][None],
    )


def test_layers_of_training_do_what_keras_says_when_the_port_is_trained() -> None:
    x = torch.ones(200_000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module, variance in (
            (GaussianNoise(0.3), 0.09),
            (GaussianDropout(0.2), 0.25),
        ):
            assert torch.equal(module.eval()(x), x)
            found = module.train()(x)
            assert abs(float(found.mean()) - 1) < 5e-3
            assert abs(float(found.var()) - variance) < 5e-3
    assert (
        type(port_of(graph_of(layer("SpatialDropout1D", rate=0.2))).layer_0)
        is nn.Dropout1d
    )
    assert (
        type(
            port_of(
                graph_of(layer("Dropout", rate=0.2, noise_shape=[None, 1, 4]))
            ).layer_0
        )
        is nn.Dropout1d
    )


def modules_of_keras() -> list[type[nn.Module]]:
    files = (activation_modules, merge_modules, basic, normalisation)
    found = [
        each for file in files for _, each in inspect.getmembers(file, inspect.isclass)
    ]
    return [
        each
        for each in found
        if issubclass(each, nn.Module) and each.__module__.startswith("ecgnb.port")
    ]


@pytest.mark.parametrize("kind", modules_of_keras(), ids=lambda kind: kind.__name__)
def test_layers_own_modules_need_torch_alone_and_tell_their_relevance(
    kind: type[nn.Module],
) -> None:
    source = inspect.getsource(inspect.getmodule(kind) or kind)
    imports = {
        line.split()[1].split(".")[0]
        for line in source.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imports == {"__future__", "torch"}
    assert getattr(kind, "relevance", None) in (
        *KINDS,
        *([None] if kind is activation_modules.SoftmaxOver else []),
    )
    options = [
        name
        for name in inspect.signature(kind).parameters
        if name not in ("args", "kwargs")
    ]
    assert (
        not options
        or kind.extra_repr is not nn.Module.extra_repr
        or kind is SeparableConv1d
    )
