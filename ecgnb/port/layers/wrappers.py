"""Layers that hold other layers: Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ecgnb.port.layers.base import LayerRule, keras_layer
from ecgnb.port.layers.recurrent import with_states
from ecgnb.port.modules.basic import unfold_steps
from ecgnb.port.network import Network, Value

#: Writes a wrapped layer, which is called by its name in `Layer.children`, and returns
#: its outputs.
WriteChild = Callable[..., list[Value]]

#: Layers that are known to work in both directions.
BIDIRECTIONAL = ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU")


class Wrapper(LayerRule):
    """A layer that calls those it holds; their modules are kept below its name."""

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write one call; as `build`, but ``write(child, *inputs)`` writes a wrapped
        layer.
        """
        raise NotImplementedError


@keras_layer
class Bidirectional(Wrapper):
    """One recurrent layer forwards, one backwards, and both outputs merged."""

    options = {"layer", "backward_layer"}
    only = {"merge_mode": ("concat", "sum", "mul", "ave", None)}
    arguments = {"initial_state"}

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for layer in self.layer.children.values():
            if layer.class_name not in BIDIRECTIONAL:
                yield (
                    f"it wraps a {layer.class_name}; only LSTM, GRU and SimpleRNN are "
                    "known in both directions"
                )

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        x, *states = with_states(inputs, kwargs.get("initial_state"))
        half = len(states) // 2  # the forward layer's come first
        forward = write("forward_layer", x, initial_state=states[:half])
        backward = write("backward_layer", x, initial_state=states[half:])
        config = self.layer.children["forward_layer"].config
        if config.get("return_sequences", False):
            # reversed in time, so that its steps meet those of the forward sequence
            backward[0] = net.function(torch.flip, backward[0], [1])
        merged = self._merged(net, forward[0], backward[0])
        return [*merged, *forward[1:], *backward[1:]]  # states after the outputs

    def _merged(self, net: Network, forward: Value, backward: Value) -> list[Value]:
        mode = self.get("merge_mode", "concat")
        if mode is None:
            return [forward, backward]
        if mode == "concat":
            return [net.function(torch.cat, [forward, backward], dim=-1)]
        function = torch.mul if mode == "mul" else torch.add
        merged = net.function(function, forward, backward)
        if mode == "ave":
            merged = net.function(torch.div, merged, 2.0)
        return [merged]


@keras_layer
class TimeDistributed(Wrapper):
    """A layer or a model at every step of the first axis after the batch, as if each
    step were a sample.
    """

    options = {"layer"}

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        steps = net.keras(inputs[0])
        samples = net.function(torch.flatten, steps, 0, 1)  # [B * T, ...]
        outputs = write("layer", samples)
        return [net.function(unfold_steps, output, steps) for output in outputs]
