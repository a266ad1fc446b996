"""Cases of the layer zoo: recurrent layers, wrappers and attention."""

from __future__ import annotations

from typing import Any

from zoo_case import Keras, case
from zoo_layers import table

MODES = ("sum", "mul", "concat", "ave", None)


def recurrent_options(keras: Keras, kind: str) -> dict[str, Any]:
    layer = getattr(keras.layers, kind)
    return {
        "last": layer(3),
        "sequences": layer(3, return_sequences=True),
        "state": layer(2, return_state=True),
        "sequences_state": layer(2, return_sequences=True, return_state=True),
        "backwards": layer(2, go_backwards=True),
        "backwards_sequences": layer(2, go_backwards=True, return_sequences=True),
        "no_bias": layer(2, use_bias=False),
        "relu": layer(3, activation="relu", return_sequences=True),
        "dropped": layer(2, dropout=0.3, recurrent_dropout=0.2),
        "unrolled": layer(2, unroll=True),
    }


@case(containers="small")
def recurrent_simple(keras: Keras) -> Any:
    return table(keras, keras.input(9, 3), recurrent_options(keras, "SimpleRNN"))


@case(containers="small")
def recurrent_lstm(keras: Keras) -> Any:
    named = recurrent_options(keras, "LSTM")
    named["no_forget_bias"] = keras.layers.LSTM(
        2, unit_forget_bias=False, recurrent_activation="tanh"
    )
    return table(keras, keras.input(9, 3), named)


@case(containers="small")
def recurrent_gru(keras: Keras) -> Any:
    named = recurrent_options(keras, "GRU")
    named |= {
        "before": keras.layers.GRU(3, reset_after=False),
        "before_sequences": keras.layers.GRU(
            2, reset_after=False, return_sequences=True, go_backwards=True
        ),
        "before_no_bias": keras.layers.GRU(2, reset_after=False, use_bias=False),
    }
    return table(keras, keras.input(9, 3), named)


@case(
    containers="small",
    note="hard_sigmoid is another function in Keras 2 (0.2 x + 0.5) than in Keras 3 (x / 6 + 0.5).",
)
def recurrent_hard_sigmoid(keras: Keras) -> Any:
    layers, hard = keras.layers, {"recurrent_activation": "hard_sigmoid"}
    named = {
        "lstm": layers.LSTM(3, return_sequences=True, **hard),
        "gru_after": layers.GRU(3, **hard),
        "gru_before": layers.GRU(3, reset_after=False, **hard),
        "both": layers.Bidirectional(layers.LSTM(2, **hard, name="inner"), name="both"),
    }
    return table(keras, keras.input(9, 3), named)


def bidirectional(keras: Keras, kind: str) -> Any:
    x, layer, outputs = keras.input(9, 3), getattr(keras.layers, kind), []
    for mode in MODES:
        for sequences in (False, True) if mode in ("concat", None) else (True,):
            name = f"bi_{mode}_{'sequences' if sequences else 'last'}".lower()
            inner = layer(2, return_sequences=sequences, name="inner")
            found = keras.layers.Bidirectional(inner, merge_mode=mode, name=name)(x)
            outputs += list(found) if mode is None else [found]
    return keras.model(x, outputs)


@case(containers="small")
def bidirectional_lstm(keras: Keras) -> Any:
    return bidirectional(keras, "LSTM")


@case(containers="small")
def bidirectional_gru(keras: Keras) -> Any:
    return bidirectional(keras, "GRU")


@case()
def bidirectional_options(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(9, 3)
    first = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="stack_1")(
        x
    )
    second = layers.Bidirectional(layers.GRU(2, return_sequences=True), name="stack_2")(
        first
    )
    other_way = layers.GRU(
        3, go_backwards=True, return_sequences=True, name="back", activation="relu"
    )
    forward = layers.GRU(3, return_sequences=True, name="front")
    uneven = layers.Bidirectional(
        forward, backward_layer=other_way, merge_mode="sum", name="uneven"
    )(x)
    state = layers.Bidirectional(layers.LSTM(2, return_state=True), name="state")(
        second
    )
    simple = layers.Bidirectional(layers.SimpleRNN(2), merge_mode="ave", name="simple")(
        second
    )
    return keras.model(x, [*state, simple, uneven])


@case()
def recurrent_stacked(keras: Keras) -> Any:
    layers = keras.layers
    stack = [
        keras.input(15, 3),
        layers.LSTM(4, return_sequences=True, name="lstm_1"),
        layers.LSTM(3, return_sequences=True, name="lstm_2"),
        layers.GRU(3, name="gru"),
        layers.Dense(3, name="dense"),
        layers.Softmax(name="probabilities"),
    ]
    return keras.model(stack[0], chain(stack[0], stack[1:]))


def chain(x: Any, layers: list[Any]) -> Any:
    for layer in layers:
        x = layer(x)
    return x


@case()
def recurrent_initial_state(keras: Keras) -> Any:
    layers, x, y = keras.layers, keras.input(9, 3), keras.input(6, 2, name="later")
    _, h, c = layers.LSTM(3, return_state=True, name="encoder")(x)
    decoded = layers.LSTM(3, return_sequences=True, name="decoder")(
        y, initial_state=[h, c]
    )
    gru = layers.GRU(3, name="decoder_gru")(y, initial_state=h)
    return keras.model([x, y], [decoded, gru])


@case(containers="two")
def time_distributed(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(4, 13, 2, name="beats")
    encoder = keras.sequential(
        [
            keras.input(13, 2, name="beat"),
            layers.Conv1D(3, 4, strides=2, padding="same", name="beat_conv"),
            layers.BatchNormalization(name="beat_bn"),
            layers.ReLU(name="beat_relu"),
            layers.GlobalAveragePooling1D(name="beat_mean"),
        ],
        name="beat_encoder",
    )
    wrap = layers.TimeDistributed
    conv = wrap(layers.Conv1D(3, 3, activation="relu"), name="td_conv")(x)
    pooled = wrap(layers.MaxPooling1D(2), name="td_pool")(conv)
    dense = wrap(layers.Dense(4, activation="tanh"), name="td_dense")(
        wrap(layers.Flatten(), name="td_flat")(pooled)
    )
    norm = wrap(layers.BatchNormalization(), name="td_norm")(dense)
    lstm = wrap(layers.LSTM(2), name="td_lstm")(x)
    nested = wrap(encoder, name="td_nested")(x)
    joined = layers.Concatenate(name="joined")([norm, lstm, nested])
    return keras.model(
        x, layers.Dense(2, name="logits")(layers.GRU(3, name="gru")(joined))
    )


@case()
def attention_heads(keras: Keras) -> Any:
    heads, x, y = (
        keras.layers.MultiHeadAttention,
        keras.input(9, 4),
        keras.input(7, 3, name="other"),
    )
    whole, scores = heads(2, 3, name="with_scores")(x, y, return_attention_scores=True)
    outputs = [
        heads(2, 3, name="self")(x, x),
        heads(3, 2, value_dim=5, output_shape=6, name="cross")(x, y),
        heads(2, 3, use_bias=False, dropout=0.2, name="no_bias")(x, x),
        heads(2, 3, name="three")(x, y, key=keras.layers.Dense(4, name="key")(y)),
        heads(2, 3, name="causal")(x, x, use_causal_mask=True),
        whole,
        scores,
    ]
    return keras.model([x, y], outputs)


@case()
def attention_dot(keras: Keras) -> Any:
    layers, q, v = (
        keras.layers,
        keras.input(9, 4, name="query"),
        keras.input(7, 4, name="value"),
    )
    k = layers.Dense(4, name="key")(v)
    outputs = [
        layers.Attention(name="plain")([q, v]),
        layers.Attention(name="keyed")([q, v, k]),
        layers.Attention(use_scale=True, name="scaled")([q, v]),
        layers.Attention(score_mode="concat", use_scale=True, name="concat")([q, v]),
        layers.Attention(name="causal")([q, q], use_causal_mask=True),
        layers.AdditiveAttention(name="additive")([q, v]),
        layers.AdditiveAttention(use_scale=False, name="additive_unscaled")([q, v, k]),
    ]
    return keras.model([q, v], outputs)


@case(containers="small")
def transformer_block(keras: Keras) -> Any:
    layers, x = keras.layers, keras.input(12, 4)
    attended = layers.MultiHeadAttention(2, 2, dropout=0.1, name="heads")(x, x)
    x1 = layers.LayerNormalization(epsilon=1e-6, name="norm_1")(
        layers.Add(name="add_1")([x, attended])
    )
    inner = layers.Dense(4, name="ffn_2")(
        layers.Dense(6, activation="gelu", name="ffn_1")(x1)
    )
    x2 = layers.LayerNormalization(epsilon=1e-6, name="norm_2")(
        layers.Add(name="add_2")([x1, inner])
    )
    mean = layers.GlobalAveragePooling1D(name="mean")(x2)
    return keras.model(x, layers.Dense(3, activation="softmax", name="classes")(mean))
