"""Masks that Keras hands from layer to layer without a trace in the graph."""

from __future__ import annotations

from collections.abc import Iterator

from ecgnb.port.reading.graph import Graph, walk

#: Layers whose output changes when their input comes with a mask.
USERS = frozenset(
    [
        "AdditiveAttention",
        "Attention",
        "Bidirectional",
        "CuDNNGRU",
        "CuDNNLSTM",
        "GRU",
        "GlobalAveragePooling1D",
        "GroupQueryAttention",
        "LSTM",
        "Maximum",
        "Minimum",
        "MultiHeadAttention",
        "Multiply",
        "SimpleRNN",
        "Softmax",
        "TimeDistributed",
    ]
)


def mask_problems(graph: Graph) -> Iterator[str]:
    """Yield each embedding that makes a mask in a model where some layer would use one.

    A mask goes with a tensor through most layers, so any user in the model counts, whether or not it comes after.
    """
    layers = list(walk(graph.layers))
    users = [path for path, layer in layers if layer.class_name in USERS]
    for path, layer in layers:
        if layer.class_name == "Embedding" and layer.config.get("mask_zero") and users:
            yield (
                f"{path} (Embedding): mask_zero=True makes a mask, which {users[0]} may use "
                "(only False, or True in a model without layers that use masks)"
            )
