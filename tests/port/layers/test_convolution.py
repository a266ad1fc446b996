"""Convolutions against Keras, and transposed ones against their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from layer_graphs import (
    answer,
    graph_of,
    layer,
    noise,
    port_of,
)
from zoo_cases import ZooModel, check_model, difference, zoo_models

from ecgnb.core.errors import PortError


@pytest.mark.parametrize("model", zoo_models("conv_"), ids=str)
def test_convolution_outputs_and_gradients_are_those_of_keras(model: ZooModel) -> None:
    check_model(model)


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
