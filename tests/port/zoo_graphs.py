"""Cases of the layer zoo: nested and shared models, several inputs and outputs, names,
and operators on tensors."""

from __future__ import annotations

from typing import Any

from zoo_case import Keras, case


def sequential_encoder(keras: Keras, name: str, channels: int = 3) -> Any:
    """A nested model whose two BatchNorms show in which order its weights are
    stored."""
    layers = keras.layers
    return keras.sequential(
        [
            keras.input(20, channels, name=f"{name}_input"),
            layers.Conv1D(3, 4, strides=2, padding="same", name=f"{name}_conv"),
            layers.BatchNormalization(name=f"{name}_bn_1"),
            layers.ReLU(name=f"{name}_relu"),
            layers.Dense(3, name=f"{name}_dense"),
            layers.BatchNormalization(name=f"{name}_bn_2"),
        ],
        name=name,
    )


def residual_unit(keras: Keras, name: str, length: int, channels: int) -> Any:
    layers, x = keras.layers, keras.input(length, channels, name=f"{name}_input")
    main = layers.Conv1D(
        channels, 3, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    main = layers.BatchNormalization(name=f"{name}_bn")(main)
    joined = layers.Add(name=f"{name}_add")([x, main])
    return keras.model(
        x, layers.Activation("relu", name=f"{name}_relu")(joined), name=name
    )


def classifier(keras: Keras, x: Any, classes: int = 3) -> Any:
    layers = keras.layers
    mean = layers.GlobalAveragePooling1D(name="gap")(x)
    return layers.Softmax(name="probabilities")(
        layers.Dense(classes, name="logits")(mean)
    )


@case(containers="two")
def nested_mixed(keras: Keras) -> Any:
    x = keras.input(20, 3)
    encoded = sequential_encoder(keras, "encoder")(x)
    return keras.model(
        x, classifier(keras, residual_unit(keras, "unit", 10, 3)(encoded))
    )


@case()
def nested_in_sequential(keras: Keras) -> Any:
    layers = keras.layers
    stack = [
        keras.input(20, 3),
        sequential_encoder(keras, "encoder"),
        layers.Dropout(0.3, name="drop"),
        residual_unit(keras, "unit", 10, 3),
        layers.Flatten(name="flat"),
        layers.Dense(2, activation="sigmoid", name="findings"),
    ]
    return keras.sequential(stack, name="whole")


@case(
    containers="all",
    note="Frozen parts: Keras 2 stores the weights of a nested model in another order when it is frozen.",
)
def nested_frozen(keras: Keras) -> Any:
    frozen = sequential_encoder(keras, "frozen")
    frozen.trainable = False
    partly = sequential_encoder(keras, "partly")
    partly.layers[1].trainable = False
    x = keras.input(20, 3)
    joined = keras.layers.Concatenate(name="joined")([frozen(x), partly(x)])
    last = keras.layers.BatchNormalization(trainable=False, name="frozen_bn")(joined)
    return keras.model(x, classifier(keras, last))


@case(containers="two")
def nested_twice(keras: Keras) -> Any:
    layers, first, second = (
        keras.layers,
        keras.input(20, 3, name="first"),
        keras.input(20, 3, name="second"),
    )
    encoder, dense = (
        sequential_encoder(keras, "encoder"),
        layers.Dense(4, activation="tanh", name="shared"),
    )
    a, b = dense(encoder(first)), dense(encoder(second))
    distance = layers.Subtract(name="difference")([a, b])
    return keras.model(
        [first, second],
        layers.Dense(1, name="score")(layers.Flatten(name="flat")(distance)),
    )


@case()
def nested_deep(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 3, name="outer_input")
    middle_in = keras.input(20, 3, name="middle_input")
    encoded = sequential_encoder(keras, "inner")(middle_in)
    middle_out = layers.BatchNormalization(name="middle_bn")(
        residual_unit(keras, "unit", 10, 3)(encoded)
    )
    pooled = layers.GlobalMaxPooling1D(name="middle_max")(encoded)
    middle = keras.model(middle_in, [middle_out, pooled], name="middle")
    series, features = middle(layers.Conv1D(3, 3, padding="same", name="stem")(x))
    again = layers.GlobalAveragePooling1D(name="mean")(series)
    joined = layers.Concatenate(name="joined")([again, features])
    return keras.model(x, layers.Dense(2, name="logits")(joined))


@case(containers="two")
def shared_layer(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 3)
    conv, norm = (
        layers.Conv1D(3, 3, padding="same", name="conv"),
        layers.BatchNormalization(name="bn"),
    )
    relu = layers.Activation("relu", name="relu")
    path = x
    for _ in range(3):
        path = relu(norm(conv(path)))
    half = layers.AveragePooling1D(2, name="half")(x)
    return keras.model(x, [path, conv(half)])


@case(
    note="Inputs are not in alphabetical order; the first output is not the last layer."
)
def inputs_outputs(keras: Keras) -> Any:
    layers = keras.layers
    signal, age, lead = (
        keras.input(*s, name=n)
        for n, s in (("signal", (20, 3)), ("age", (2,)), ("lead", (20, 1)))
    )
    features = layers.GlobalAveragePooling1D(name="gap")(
        layers.Conv1D(4, 5, activation="elu", name="conv")(signal)
    )
    other = layers.Flatten(name="flat")(
        layers.Conv1D(2, 4, strides=4, name="conv_lead")(lead)
    )
    joined = layers.Concatenate(name="joined")([other, age, features])
    rhythm = layers.Dense(3, activation="softmax", name="rhythm")(joined)
    years = layers.Dense(1, name="years")(joined)
    return keras.model([signal, age, lead], [years, rhythm, features])


@case(note="Inputs and outputs are dictionaries.")
def inputs_dict(keras: Keras) -> Any:
    layers, signal, age = (
        keras.layers,
        keras.input(20, 3, name="signal"),
        keras.input(2, name="age"),
    )
    features = layers.GlobalMaxPooling1D(name="max")(
        layers.Conv1D(4, 5, name="conv")(signal)
    )
    joined = layers.Concatenate(name="joined")([features, age])
    outputs = {
        "rhythm": layers.Dense(3, name="rhythm")(joined),
        "beat": layers.Dense(2, name="beat")(joined),
    }
    return keras.model({"signal": signal, "age": age}, outputs)


@case(
    containers="two",
    note="Names that are no Python identifiers, keywords, names of torch.nn.Module, names alike but for signs.",
)
def names_awkward(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 3, name="the-input")
    names = [
        "conv-1",
        "conv.1",
        "conv_1",
        "Conv_1",
        "1conv",
        "class",
        "forward",
        "training",
        "x",
        "self",
    ]
    names += ["input"] + (
        ["block/conv", "block/bn"] if keras.version == 2 else ["naïve ecg"]
    )
    path = x
    for name in names:
        path = (
            layers.BatchNormalization(name=name)(path)
            if "bn" in name
            else layers.Dense(3, name=name)(path)
        )
    return keras.model(x, path)


@case(
    containers="two",
    note="Sequential without an input shape, built when it is first called.",
)
def sequential_deferred(keras: Keras) -> Any:
    layers = keras.layers
    model = keras.sequential(
        [
            layers.Conv1D(4, 3, padding="same", activation="relu", name="conv"),
            layers.MaxPooling1D(2, name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(3, name="dense"),
            layers.Activation("softmax", name="softmax"),
        ],
        name="deferred",
    )
    model(keras.tf.zeros((2, 15, 2)))
    return model


@case()
def sequential_plain(keras: Keras) -> Any:
    layers = keras.layers
    stack = [
        layers.Conv1D(4, 3, strides=2, padding="same", input_shape=(21, 2)),
        layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv1D(4, 3, padding="causal"),
        layers.ELU(),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
        layers.Activation("sigmoid"),
    ]
    return keras.sequential(stack, name="sequential")


@case(note="Squeeze and excitation.")
def squeeze_excite(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 4)
    maps = layers.Conv1D(4, 3, padding="same", name="conv")(x)
    squeezed = layers.Reshape((1, 4), name="se_reshape")(
        layers.GlobalAveragePooling1D(name="se_mean")(maps)
    )
    small = layers.Dense(2, activation="relu", use_bias=False, name="se_down")(squeezed)
    gate = layers.Dense(4, activation="sigmoid", use_bias=False, name="se_up")(small)
    return keras.model(
        x, classifier(keras, layers.Multiply(name="se_scale")([maps, gate]))
    )


@case(
    containers="two", note="A mask from the signal itself: not_equal, cast, Multiply."
)
def mask_path(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(20, 2)
    signal = keras.tf.random.stateless_normal((2, 20, 2), (3, 4)).numpy()
    signal[0, 13:], signal[1, 17:, 0] = 0, 0
    keras.give("ecg", signal)
    maps = layers.Conv1D(2, 4, padding="same", activation="relu", name="conv")(x)
    if keras.version == 2:
        mask = keras.tf.cast(keras.tf.math.not_equal(x, 0.0), "float32")
    else:
        mask = keras.api.ops.cast(keras.api.ops.not_equal(x, 0.0), "float32")
    masked = layers.Multiply(name="masked")([maps, mask])
    return keras.model(
        x, layers.Dense(2, name="logits")(layers.GlobalMaxPooling1D(name="max")(masked))
    )


@case(
    versions=(2,),
    note="TFOpLambda and SlicingOpLambda: arithmetic.",
    containers="small",
)
def ops2_arithmetic(keras: Keras) -> Any:
    tf, x, y = keras.tf, keras.input(8, 3), keras.input(8, 3, name="other")
    pairs = [
        tf.math.add(x, y),
        tf.math.multiply(x, 2.0),
        tf.math.subtract(x, y),
        x + 1.5,
        2.0 - x,
        x / 4.0,
        1.0 / (y * y + 1.0),
    ]
    more = [
        x * y,
        -x,
        x**2,
        tf.abs(x),
        tf.square(y),
        tf.sqrt(tf.abs(y) + 0.1),
        tf.maximum(x, 0.1),
        tf.minimum(x, y),
    ]
    more += [
        tf.exp(x * 0.3),
        tf.math.log(tf.abs(x) + 1.0),
        tf.tanh(x),
        tf.clip_by_value(x, -1.0, 0.5),
        tf.divide(x, y * y + 1.0),
    ]
    more += [
        tf.nn.relu(x),
        tf.nn.sigmoid(x),
        tf.nn.softmax(x),
        tf.nn.softmax(x, axis=1),
        tf.nn.leaky_relu(x, alpha=0.3),
    ]
    more += [
        tf.cast(tf.greater(x, 0.0), "float32"),
        tf.math.pow(tf.abs(x), 1.5),
        tf.nn.elu(x),
        tf.nn.swish(x),
    ]
    return keras.model([x, y], pairs + more)


@case(
    versions=(2,),
    containers="two",
    note="TFOpLambda and SlicingOpLambda: shapes, reductions, slices.",
)
def ops2_shapes(keras: Keras) -> Any:
    tf, x, y = keras.tf, keras.input(8, 3), keras.input(8, 2, name="other")
    outputs = [
        tf.reduce_mean(x, axis=1),
        tf.reduce_mean(x, axis=[1, 2], keepdims=True),
        tf.reduce_max(x, axis=-1),
    ]
    outputs += [
        tf.reduce_sum(x, axis=2),
        tf.reduce_min(x, axis=1, keepdims=True),
        tf.math.reduce_std(x, axis=1),
    ]
    outputs += [
        tf.expand_dims(x, 1),
        tf.squeeze(tf.expand_dims(x, -1), axis=-1),
        tf.concat([x, y], axis=-1),
    ]
    outputs += [
        tf.transpose(x, [0, 2, 1]),
        tf.reshape(x, (-1, 4, 6)),
        x[:, ::2],
        x[:, 3:-2, 1:],
        x[:, -1],
    ]
    outputs += [
        tf.pad(x, [[0, 0], [2, 3], [0, 0]]),
        tf.stack([x, x * 2.0], axis=1),
        tf.matmul(x, y, transpose_a=True),
    ]
    outputs += [
        *tf.split(x, [1, 2], axis=-1),
        *tf.unstack(y, axis=-1),
        tf.tile(y, [1, 2, 1]),
        x[:, tf.newaxis, :, 0],
    ]
    return keras.model([x, y], outputs)


@case(versions=(2,), note="Keras 2 cannot write an ellipsis to .keras.")
def ops2_ellipsis(keras: Keras) -> Any:
    x = keras.input(8, 3)
    return keras.model(x, [x[..., 0], x[..., 1:, :]])


@case(versions=(3,), containers="two", note="Operators and keras.ops: arithmetic.")
def ops3_arithmetic(keras: Keras) -> Any:
    ops, x, y = keras.api.ops, keras.input(8, 3), keras.input(8, 3, name="other")
    outputs = [
        x + y,
        x * 2.0,
        x - y,
        2.0 - x,
        x / 4.0,
        1.0 / (y * y + 1.0),
        -x,
        x**2,
        abs(x),
        ops.square(y),
    ]
    outputs += [
        ops.sqrt(ops.abs(y) + 0.1),
        ops.maximum(x, 0.1),
        ops.minimum(x, y),
        ops.exp(x * 0.3),
        ops.tanh(x),
    ]
    outputs += [
        ops.log(ops.absolute(x) + 1.0),
        ops.clip(x, -1.0, 0.5),
        ops.relu(x),
        ops.sigmoid(x),
        ops.softmax(x),
    ]
    outputs += [
        ops.softmax(x, axis=1),
        ops.cast(ops.greater(x, 0.0), "float32"),
        ops.power(ops.abs(x), 1.5),
        ops.silu(x),
    ]
    outputs += [
        ops.add(x, 1.0),
        ops.multiply(x, y),
        ops.subtract(x, y),
        ops.divide(x, 3.0),
        ops.gelu(x),
        ops.elu(x),
    ]
    return keras.model([x, y], outputs)


@case(
    versions=(3,),
    containers="two",
    note="Operators and keras.ops: shapes, reductions, slices.",
)
def ops3_shapes(keras: Keras) -> Any:
    ops, x, y = keras.api.ops, keras.input(8, 3), keras.input(8, 2, name="other")
    outputs = [
        ops.mean(x, axis=1),
        ops.mean(x, axis=[1, 2], keepdims=True),
        ops.max(x, axis=-1),
        ops.sum(x, axis=2),
    ]
    outputs += [
        ops.min(x, axis=1, keepdims=True),
        ops.std(x, axis=1),
        ops.expand_dims(x, 1),
        ops.squeeze(x[:, :, :1], axis=-1),
    ]
    outputs += [
        ops.concatenate([x, y], axis=-1),
        ops.transpose(x, [0, 2, 1]),
        ops.reshape(x, (-1, 4, 6)),
        x[:, ::2],
    ]
    outputs += [
        x[..., 0],
        x[:, 3:-2, 1:],
        x[:, -1],
        ops.pad(x, [[0, 0], [2, 3], [0, 0]]),
        ops.stack([x, x * 2.0], axis=1),
    ]
    outputs += [
        ops.matmul(ops.transpose(x, (0, 2, 1)), y),
        *ops.split(x, [1], axis=-1),
        ops.tile(y, [1, 2, 1]),
    ]
    outputs += [
        ops.swapaxes(x, 1, 2),
        ops.repeat(y, 2, axis=1),
        ops.flip(x, axis=1),
        x[:, None, :, 0],
    ]
    return keras.model([x, y], outputs)
