"""Cases of the layer zoo: whole ECG architectures, tiny."""

from __future__ import annotations

from typing import Any

from zoo_case import Keras, case


@case(containers="small")
def net_inception(keras: Keras) -> Any:
    """InceptionTime (Ismail Fawaz et al. 2020): bottleneck, three kernel sizes, pooling
    branch, residual connection."""
    layers, x = keras.layers, keras.input(32, 3)
    path = x
    for block in (1, 2):
        narrow = layers.Conv1D(
            2, 1, padding="same", use_bias=False, name=f"bottleneck_{block}"
        )(path)
        options = {"padding": "same", "use_bias": False}
        branches = [
            layers.Conv1D(2, k, **options, name=f"conv_{block}_k{k}")(narrow)
            for k in (10, 5, 3)
        ]
        pooled = layers.MaxPooling1D(
            3, strides=1, padding="same", name=f"pool_{block}"
        )(path)
        branches.append(
            layers.Conv1D(2, 1, **options, name=f"conv_{block}_pool")(pooled)
        )
        joined = layers.Concatenate(axis=2, name=f"concat_{block}")(branches)
        path = layers.Activation("relu", name=f"relu_{block}")(
            layers.BatchNormalization(name=f"bn_{block}")(joined)
        )
    skip = layers.BatchNormalization(name="bn_skip")(
        layers.Conv1D(8, 1, name="conv_skip")(x)
    )
    path = layers.Activation("relu", name="relu_skip")(
        layers.Add(name="add")([skip, path])
    )
    mean = layers.GlobalAveragePooling1D(name="gap")(path)
    return keras.model(x, layers.Dense(3, activation="softmax", name="classes")(mean))


@case()
def net_bilstm_attention(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(33, 2)
    path = layers.Conv1D(
        4, 5, strides=2, padding="same", activation="relu", name="conv"
    )(x)
    path = layers.MaxPooling1D(2, padding="same", name="pool")(
        layers.BatchNormalization(name="bn")(path)
    )
    path = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="bilstm")(
        layers.Dropout(0.2, name="drop")(path)
    )
    scores = layers.Dense(1, activation="tanh", name="scores")(path)
    weights = layers.Softmax(axis=1, name="weights")(scores)
    context = layers.Dot(axes=1, name="context")([weights, path])
    flat = layers.Flatten(name="flat")(context)
    return keras.model(
        x,
        layers.Activation("sigmoid", name="findings")(
            layers.Dense(4, name="logits")(flat)
        ),
    )


@case(containers="small")
def net_wavenet(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(40, 2)
    path, skips = layers.Conv1D(3, 2, padding="causal", name="stem")(x), []
    for rate in (1, 2, 4):
        options = {"padding": "causal", "dilation_rate": rate}
        signal = layers.Conv1D(
            3, 2, activation="tanh", name=f"signal_{rate}", **options
        )(path)
        gate = layers.Conv1D(
            3, 2, activation="sigmoid", name=f"gate_{rate}", **options
        )(path)
        gated = layers.Multiply(name=f"gated_{rate}")([signal, gate])
        skips.append(layers.Conv1D(4, 1, name=f"skip_{rate}")(gated))
        path = layers.Add(name=f"residual_{rate}")(
            [layers.Conv1D(3, 1, name=f"mix_{rate}")(gated), path]
        )
    summed = layers.ReLU(name="relu")(layers.Add(name="skips")(skips))
    return keras.model(
        x, layers.Conv1D(2, 1, activation="softmax", name="each_sample")(summed)
    )


@case(note="The time axis has no fixed length; golden values for 32 samples.")
def net_unet(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(None, 2)

    def block(path: Any, width: int, name: str) -> Any:
        path = layers.Conv1D(width, 3, padding="same", name=f"{name}_conv")(path)
        return layers.ReLU(name=f"{name}_relu")(
            layers.BatchNormalization(name=f"{name}_bn")(path)
        )

    first = block(x, 3, "down_1")
    second = block(layers.MaxPooling1D(2, name="pool_1")(first), 4, "down_2")
    bottom = block(layers.AveragePooling1D(2, name="pool_2")(second), 5, "bottom")
    up = layers.UpSampling1D(2, name="up_2")(bottom)
    joined = block(layers.Concatenate(name="concat_2")([up, second]), 4, "up_2_block")
    up = layers.Conv1DTranspose(3, 4, strides=2, padding="same", name="up_1")(joined)
    joined = block(layers.Concatenate(name="concat_1")([up, first]), 3, "up_1_block")
    return keras.model(
        x, layers.Conv1D(1, 1, activation="sigmoid", name="mask")(joined)
    )


@case(
    containers="small",
    note="The time axis has no fixed length; golden values for 32 samples. Strides and 'same' on it.",
)
def net_dynamic(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(None, 3)
    path = layers.Conv1D(3, 4, strides=3, padding="same", name="conv_s3")(x)
    path = layers.MaxPooling1D(2, padding="same", name="pool")(path)
    path = layers.SeparableConv1D(3, 3, padding="same", name="separable")(path)
    path = layers.Conv1D(
        4, 3, padding="causal", dilation_rate=2, activation="relu", name="causal"
    )(path)
    path = layers.GRU(3, return_sequences=True, name="gru")(path)
    return keras.model(
        x, layers.Dense(2, name="logits")(layers.GlobalMaxPooling1D(name="max")(path))
    )


@case(
    containers="two",
    note="Trained for one step with Adam: optimizer variables are in the files.",
)
def net_multi_input(keras: Keras) -> Any:
    layers, signal, person = (
        keras.layers,
        keras.input(30, 3, name="signal"),
        keras.input(4, name="demographics"),
    )
    path = layers.ZeroPadding1D((2, 2), name="pad")(signal)
    path = layers.PReLU(shared_axes=[1], name="prelu")(
        layers.Conv1D(4, 5, strides=2, name="conv")(path)
    )
    path = layers.SpatialDropout1D(0.1, name="drop")(path)
    features = layers.Concatenate(name="features")(
        [
            layers.GlobalAveragePooling1D(name="mean")(path),
            layers.GlobalMaxPooling1D(name="max")(path),
        ]
    )
    people = layers.Dense(3, activation="selu", name="person_dense")(
        layers.BatchNormalization(name="person_bn")(person)
    )
    joined = layers.Concatenate(name="joined")([features, people])
    rhythm = layers.Softmax(name="rhythm")(
        layers.Dense(3, name="rhythm_logits")(joined)
    )
    age = layers.Dense(1, activation="softplus", name="age")(joined)
    model = keras.model([signal, person], [rhythm, age])
    model.compile("adam", loss=["categorical_crossentropy", "mse"])
    tf = keras.tf
    model.train_on_batch(
        [tf.ones((2, 30, 3)), tf.ones((2, 4))], [tf.one_hot([0, 1], 3), tf.ones((2, 1))]
    )
    return model
