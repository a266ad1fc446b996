"""Cases of the layer zoo: one layer at a time, in every option that ECG models use."""

from __future__ import annotations

from typing import Any

from zoo_case import Keras, case

#: strides, kernel, dilation
SAME = [(s, k, 1) for s in (1, 2, 3, 4) for k in (3, 4)] + [(1, 3, 2), (1, 4, 2)]
VALID = [(1, 3, 1), (2, 4, 1), (3, 5, 1), (1, 3, 2)]
CAUSAL = [(1, 3, 1), (1, 4, 2), (2, 3, 1), (3, 2, 1)]
COMMON = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "gelu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softplus",
    "softsign",
    "swish",
    "silu",
    "mish",
    "exponential",
    "softmax",
    "log_softmax",
    "linear",
    "leaky_relu",
]
ONLY_3 = [
    "hard_swish",
    "hard_silu",
    "celu",
    "glu",
    "squareplus",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "tanh_shrink",
    "hard_tanh",
    "hard_shrink",
    "log_sigmoid",
]


def convolutions(keras: Keras, length: int) -> Any:
    x = keras.input(length, 3)
    outputs = [
        keras.layers.Conv1D(
            2,
            k,
            strides=s,
            padding=padding,
            dilation_rate=d,
            name=f"conv_{padding}_s{s}_k{k}_d{d}",
        )(x)
        for padding, options in (("same", SAME), ("valid", VALID), ("causal", CAUSAL))
        for s, k, d in options
    ]
    return keras.model(x, outputs)


@case(containers="small")
def conv_odd(keras: Keras) -> Any:
    return convolutions(keras, 21)


@case()
def conv_even(keras: Keras) -> Any:
    return convolutions(keras, 24)


@case()
def conv_options(keras: Keras) -> Any:
    conv, x = keras.layers.Conv1D, keras.input(22, 4)
    named = {
        "no_bias": conv(3, 5, padding="same", use_bias=False),
        "relu": conv(3, 5, padding="same", activation="relu"),
        "elu_stride": conv(2, 4, strides=2, activation="elu"),
        "tanh_causal": conv(2, 3, padding="causal", activation="tanh"),
        "softmax": conv(3, 3, activation="softmax"),
        "pointwise": conv(5, 1),
        "whole_length": conv(2, 22),
    }
    return keras.model(x, [rename(layer, name)(x) for name, layer in named.items()])


def rename(layer: Any, name: str) -> Any:
    """Build the same layer under another name, so that tables of layers need each name
    once."""
    return type(layer).from_config(layer.get_config() | {"name": name})


def table(keras: Keras, x: Any, named: dict[str, Any]) -> Any:
    """Return a model with one output a layer."""
    return keras.model(x, [rename(layer, name)(x) for name, layer in named.items()])


@case()
def conv_groups(keras: Keras) -> Any:
    conv = keras.layers.Conv1D
    named = {
        "groups2": conv(6, 3, groups=2, padding="same"),
        "groups4_stride": conv(
            4, 4, groups=4, padding="same", strides=2, activation="relu"
        ),
        "groups2_causal": conv(2, 3, groups=2, padding="causal", use_bias=False),
    }
    return table(keras, keras.input(21, 4), named)


@case(containers="small")
def conv_separable(keras: Keras) -> Any:
    separable, depthwise = keras.layers.SeparableConv1D, keras.layers.DepthwiseConv1D
    named = {
        "separable_m1": separable(4, 3),
        "separable_m2": separable(
            3, 4, depth_multiplier=2, padding="same", activation="relu"
        ),
        "separable_stride": separable(3, 4, strides=2, padding="same"),
        "separable_dilated": separable(
            3, 3, dilation_rate=2, padding="same", use_bias=False
        ),
        "depthwise_same": depthwise(3, padding="same"),
        "depthwise_same_even": depthwise(4, padding="same", depth_multiplier=2),
        "depthwise_stride": depthwise(4, strides=2, padding="same", use_bias=False),
        "depthwise_valid": depthwise(3, strides=3, activation="elu"),
    }
    return table(keras, keras.input(21, 3), named)


@case(versions=(2,))
def conv_separable_causal(keras: Keras) -> Any:
    named = {
        "separable_causal": keras.layers.SeparableConv1D(
            2, 3, padding="causal", dilation_rate=2
        )
    }
    return table(keras, keras.input(21, 3), named)


@case(containers="small")
def conv_transpose(keras: Keras) -> Any:
    transposed = keras.layers.Conv1DTranspose
    named = {
        f"transpose_{padding}_s{s}_k{k}": transposed(2, k, strides=s, padding=padding)
        for padding in ("same", "valid")
        for s in (1, 2, 3)
        for k in (2, 3, 5)
    }
    named["transpose_relu_no_bias"] = transposed(
        3, 4, strides=2, padding="same", use_bias=False, activation="relu"
    )
    return table(keras, keras.input(9, 3), named)


@case(note="No dilation: TensorFlow cannot dilate a transposed convolution on a CPU.")
def conv_transpose_options(keras: Keras) -> Any:
    transposed = keras.layers.Conv1DTranspose
    named = {
        "output_padding_same": transposed(
            2, 4, strides=3, padding="same", output_padding=1
        ),
        "output_padding_same_0": transposed(
            2, 5, strides=3, padding="same", output_padding=0
        ),
        "output_padding_valid": transposed(
            2, 4, strides=3, padding="valid", output_padding=2
        ),
    }
    return table(keras, keras.input(9, 3), named)


@case()
def norm_batch(keras: Keras) -> Any:
    norm, x = keras.layers.BatchNormalization, keras.input(20, 4)
    named = {
        "bn": norm(),
        "bn_axis_time": norm(axis=1),
        "bn_no_center": norm(center=False),
        "bn_no_scale": norm(scale=False),
        "bn_bare": norm(center=False, scale=False),
        "bn_eps": norm(epsilon=0.1, momentum=0.9),
    }
    flat = keras.layers.GlobalAveragePooling1D(name="flat")(x)
    bn_flat = keras.layers.BatchNormalization(name="bn_flat")(flat)
    return keras.model(
        x, [*(rename(layer, name)(x) for name, layer in named.items()), bn_flat]
    )


@case()
def norm_layer(keras: Keras) -> Any:
    norm = keras.layers.LayerNormalization
    named = {
        "ln": norm(),
        "ln_two_axes": norm(axis=[1, 2]),
        "ln_time": norm(axis=1),
        "ln_no_center": norm(center=False),
        "ln_no_scale": norm(scale=False),
        "ln_bare": norm(center=False, scale=False, epsilon=0.1),
    }
    return table(keras, keras.input(20, 4), named)


@case()
def norm_group(keras: Keras) -> Any:
    named = {
        "gn_2": keras.layers.GroupNormalization(groups=2),
        "gn_1": keras.layers.GroupNormalization(groups=1, epsilon=0.1),
        "gn_instance": keras.layers.GroupNormalization(groups=-1, center=False),
        "gn_no_scale": keras.layers.GroupNormalization(groups=2, scale=False),
        "unit": keras.layers.UnitNormalization(),
        "unit_time": keras.layers.UnitNormalization(axis=1),
    }
    return table(keras, keras.input(20, 4), named)


@case()
def norm_input(keras: Keras) -> Any:
    named = {
        "normalization": keras.layers.Normalization(
            mean=[0.5, -1.0, 2.0], variance=[0.25, 4.0, 1.0]
        ),
        "rescaling": keras.layers.Rescaling(scale=0.5, offset=-0.25),
    }
    return table(keras, keras.input(20, 3), named)


@case(versions=(3,))
def norm_rms(keras: Keras) -> Any:
    named = {
        "rms": keras.layers.RMSNormalization(),
        "rms_eps": keras.layers.RMSNormalization(epsilon=0.1),
    }
    return table(keras, keras.input(20, 3), named)


def activation_names(keras: Keras) -> list[str]:
    return COMMON + (ONLY_3 if keras.version == 3 else [])


@case(containers="small")
def activations_layer(keras: Keras) -> Any:
    named = {
        f"act_{name}": keras.layers.Activation(name) for name in activation_names(keras)
    }
    return table(keras, keras.input(6, 4), named)


@case(containers="small")
def activations_dense(keras: Keras) -> Any:
    named = {
        f"dense_{name}": keras.layers.Dense(4, activation=name)
        for name in activation_names(keras)
    }
    named["dense_no_bias"] = keras.layers.Dense(2, use_bias=False)
    return table(keras, keras.input(5, name="features"), named)


@case(containers="small")
def activations_conv(keras: Keras) -> Any:
    names = [name for name in activation_names(keras) if name != "linear"]
    named = {
        f"conv_{name}": keras.layers.Conv1D(2, 3, activation=name) for name in names
    }
    return table(keras, keras.input(8, 3), named)


@case()
def activation_layers(keras: Keras) -> Any:
    layers, slope = keras.layers, "alpha" if keras.version == 2 else "negative_slope"
    named = {
        "relu": layers.ReLU(),
        "relu_max": layers.ReLU(max_value=1.0),
        "relu_slope": layers.ReLU(negative_slope=0.2),
        "relu_threshold": layers.ReLU(threshold=0.5),
        "relu_all": layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.3),
        "leaky": layers.LeakyReLU(),
        "leaky_01": layers.LeakyReLU(**{slope: 0.1}),
        "elu": layers.ELU(),
        "elu_05": layers.ELU(alpha=0.5),
        "prelu": layers.PReLU(),
        "prelu_shared": layers.PReLU(shared_axes=[1]),
        "softmax": layers.Softmax(),
        "softmax_time": layers.Softmax(axis=1),
        "identity": layers.Identity(),
    }
    if keras.version == 2:
        named |= {
            "thresholded": layers.ThresholdedReLU(theta=0.7),
            "softmax_axes": layers.Softmax(axis=[1, 2]),
        }
    return table(keras, keras.input(21, 3), named)


@case(containers="small")
def pooling(keras: Keras) -> Any:
    options = [(2, None), (3, 2), (4, 4), (2, 3), (5, 1)]
    kinds = {"max": keras.layers.MaxPooling1D, "mean": keras.layers.AveragePooling1D}
    named = {
        f"{kind}_{padding}_p{p}_s{s}": layer(p, strides=s, padding=padding)
        for kind, layer in kinds.items()
        for padding in ("same", "valid")
        for p, s in options
    }
    return table(keras, keras.input(21, 2), named)


@case()
def pooling_global(keras: Keras) -> Any:
    named = {
        "mean": keras.layers.GlobalAveragePooling1D(),
        "mean_kept": keras.layers.GlobalAveragePooling1D(keepdims=True),
        "max": keras.layers.GlobalMaxPooling1D(),
        "max_kept": keras.layers.GlobalMaxPooling1D(keepdims=True),
        "mean_even": keras.layers.AveragePooling1D(4, strides=3, padding="same"),
        "max_even": keras.layers.MaxPooling1D(3, strides=2, padding="same"),
    }
    return table(keras, keras.input(24, 3), named)


@case()
def shapes(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 3)
    named = {
        "pad": layers.ZeroPadding1D(2),
        "pad_uneven": layers.ZeroPadding1D((3, 1)),
        "crop": layers.Cropping1D(2),
        "crop_uneven": layers.Cropping1D((0, 5)),
        "upsample": layers.UpSampling1D(3),
        "flatten": layers.Flatten(),
        "reshape": layers.Reshape((10, 6)),
        "reshape_free": layers.Reshape((-1, 5)),
        "reshape_flat": layers.Reshape((-1,)),
        "reshape_beats": layers.Reshape((4, 5, 3)),
        "permute": layers.Permute((2, 1)),
    }
    outputs = [rename(layer, name)(x) for name, layer in named.items()]
    back = layers.Reshape((20, 3), name="reshape_back")(outputs[-2])
    turned = layers.Permute((3, 1, 2), name="permute_beats")(outputs[-2])
    flat = layers.Flatten(name="flatten_permuted")(outputs[-1])
    repeated = layers.RepeatVector(3, name="repeat")(
        layers.Dense(2, name="dense_flat")(flat)
    )
    dense4 = layers.Dense(2, name="dense_rank4")(outputs[-2])
    return keras.model(x, [*outputs, back, turned, flat, repeated, dense4])


@case()
def merge(keras: Keras) -> Any:
    layers = keras.layers
    a, b, c = (keras.input(20, 3, name=name) for name in ("lead_a", "lead_b", "lead_c"))
    kinds = ("Add", "Multiply", "Average", "Maximum", "Minimum")
    outputs = [
        getattr(layers, kind)(name=f"{kind.lower()}_3")([a, b, c]) for kind in kinds
    ]
    outputs += [layers.Subtract(name="subtract")([a, b])]
    outputs += [
        layers.Concatenate(name="concat_channels")([a, b, c]),
        layers.Concatenate(1, name="concat_time")([c, a]),
    ]
    return keras.model([a, b, c], outputs)


@case()
def merge_broadcast(keras: Keras) -> Any:
    layers = keras.layers
    x, kept, flat = (
        keras.input(20, 3),
        keras.input(1, 3, name="kept"),
        keras.input(3, name="flat"),
    )
    one = keras.input(20, 1, name="one_lead")
    kinds = ("Add", "Multiply", "Subtract", "Maximum")
    outputs = [
        getattr(layers, kind)(name=f"{kind.lower()}_{name}")([x, other])
        for name, other in (("kept", kept), ("flat", flat), ("one", one))
        for kind in kinds
        if (kind, name) != ("Subtract", "flat")
    ]
    return keras.model([x, kept, flat, one], outputs)


@case()
def merge_dot(keras: Keras) -> Any:
    dot = keras.layers.Dot
    a, b = keras.input(20, 3, name="a"), keras.input(20, 4, name="b")
    u, v = keras.input(5, name="u"), keras.input(5, name="v")
    c = keras.input(3, 7, name="c")
    outputs = [
        dot(1, name="dot_time")([a, b]),
        dot(1, normalize=True, name="dot_time_cosine")([a, b]),
        dot((2, 1), name="dot_matmul")([a, c]),
        dot(2, name="dot_scores")([a, a]),
        dot(-1, name="dot_last")([u, v]),
        dot(1, normalize=True, name="dot_cosine")([u, v]),
    ]
    return keras.model([a, b, u, v, c], outputs)


@case()
def regularisation(keras: Keras) -> Any:
    layers = keras.layers
    named = {
        "dropout": layers.Dropout(0.5),
        "spatial_dropout": layers.SpatialDropout1D(0.3),
        "gaussian_noise": layers.GaussianNoise(0.4),
        "gaussian_dropout": layers.GaussianDropout(0.4),
        "alpha_dropout": layers.AlphaDropout(0.2),
        "activity": layers.ActivityRegularization(l1=0.1, l2=0.1),
    }
    x = keras.input(20, 3)
    path = x
    for name, layer in named.items():
        path = rename(layer, name)(path)
    dense = layers.Dense(
        2,
        kernel_regularizer="l2",
        bias_regularizer="l1",
        kernel_constraint="max_norm",
        name="dense",
    )
    return keras.model(x, dense(path))


@case()
def embedding(keras: Keras) -> Any:
    x = keras.input(20, name="tokens", dtype="int32")
    embedded = keras.layers.Embedding(7, 4, name="embedding")(x)
    return keras.model(
        x,
        keras.layers.Conv1D(3, 3, padding="same", activation="relu", name="conv")(
            embedded
        ),
    )
