"""Layers that hold other layers: in both directions of time, and at every step of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch

from ecgnb.port.layers.base import LAYERS, LayerRule, Only
from ecgnb.port.layers.recurrent import given_states
from ecgnb.port.modules.functions import unfold_steps
from ecgnb.port.network import Network, Value

#: Writes a wrapped layer, which is called by its name in `Layer.children`, and returns
#: its outputs.
WriteChild = Callable[..., list[Value]]


class Wrapper(LayerRule):
    """A layer that calls those it holds; their modules stand below its own name."""

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write one call; as `build`, but ``write(child, *inputs)`` writes a wrapped
        layer.
        """
        raise NotImplementedError


@LAYERS.register("Bidirectional")
class Bidirectional(Wrapper):
    """One recurrent layer forwards, one backwards, and what is made of both."""

    options = frozenset({"layer", "backward_layer"})
    only: ClassVar[Only] = {"merge_mode": ("concat", "sum", "mul", "ave", None)}
    arguments = frozenset({"initial_state"})

    def problems(self) -> Iterator[str]:
        """Yield unknown options and wrapped layers that are not known to work in both
        directions.
        """
        yield from super().problems()
        for layer in self.layer.children.values():
            if layer.class_name not in (
                "LSTM",
                "GRU",
                "SimpleRNN",
                "CuDNNLSTM",
                "CuDNNGRU",
            ):
                yield f"it wraps a {layer.class_name}; only LSTM, GRU and SimpleRNN are known in both directions"

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write both; the backward sequence is turned, so that its steps meet the
        forward one's.
        """
        x, *states = given_states(inputs, kwargs.get("initial_state"))
        half = len(states) // 2
        forward, *forward_states = write(
            "forward_layer", x, initial_state=states[:half]
        )
        backward, *backward_states = write(
            "backward_layer", x, initial_state=states[half:]
        )
        if self.layer.children["forward_layer"].config.get("return_sequences", False):
            backward = net.function(torch.flip, backward, [1])
        return [
            *self._merged(net, forward, backward),
            *forward_states,
            *backward_states,
        ]

    def _merged(self, net: Network, forward: Value, backward: Value) -> list[Value]:
        mode = self.get("merge_mode", "concat")
        if mode is None:
            return [forward, backward]
        if mode == "concat":
            return [net.function(torch.cat, [forward, backward], dim=-1)]
        both = net.function(
            torch.mul if mode == "mul" else torch.add, forward, backward
        )
        return [net.function(torch.div, both, 2.0) if mode == "ave" else both]


@LAYERS.register("TimeDistributed")
class TimeDistributed(Wrapper):
    """A layer or a model at every step of the first axis after the batch, as if each
    step were a sample.
    """

    options = frozenset({"layer"})

    def wrap(
        self, net: Network, write: WriteChild, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write the layer between two changes of shape."""
        steps = net.keras(inputs[0])
        outputs = write("layer", net.function(torch.flatten, steps, 0, 1))
        return [
            net.function(unfold_steps, net.keras(output), steps) for output in outputs
        ]
