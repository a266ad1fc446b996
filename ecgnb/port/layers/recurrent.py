"""Recurrent layers: `nn.LSTM`, `nn.GRU` and `nn.RNN` where they compute the same, else
`SteppedRNN`.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn

from ecgnb.port.layers.activation import activation_name
from ecgnb.port.layers.base import Args, LayerRule, Options, State, as_list, keras_layer
from ecgnb.port.modules.keras_recurrent import SteppedRNN
from ecgnb.port.network import Network, Value

#: Keras' names of activations within recurrent layers, and those of `SteppedRNN`.
STEP_ACTIVATIONS = {
    "linear": "identity",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "elu": "elu",
    "selu": "selu",
    "silu": "silu",
    "softplus": "softplus",
    "softsign": "softsign",
    "gelu": "gelu",
}


class Recurrent(LayerRule):
    """Base of LSTM, GRU and SimpleRNN. Dropout inside the cell is left out: it does
    nothing at inference.

    Attributes:
        cell: its name in `SteppedRNN`.
        kind: PyTorch's class.
        order: for each block of rows in PyTorch, its index among the gates of Keras.
        defaults: the activations that `kind` has, by their option.
    """

    options = {
        "units",
        "use_bias",
        "return_sequences",
        "return_state",
        "go_backwards",
        "activation",
        "recurrent_activation",
        "unit_forget_bias",
        "dropout",
        "recurrent_dropout",
        "implementation",
        "unroll",
        "use_cudnn",
        "zero_output_for_mask",
        "input_dtype",
    }
    only = {"stateful": (False,), "time_major": (False,)}
    arguments = {"initial_state"}
    weights = ("kernel", "recurrent_kernel", "bias")
    weight_group = "cell"  # Keras 3 stores lstm/cell/vars
    cell: str
    kind: type[nn.Module]
    order: tuple[int, ...]
    defaults = {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
    }

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for option, activation in self.activations().items():
            if activation is None:  # a default is always known
                name = activation_name(self[option])
                yield f"{option}={name!r} is unknown to the port in a recurrent layer"

    def activations(self) -> dict[str, str | None]:
        """Return the activations as `SteppedRNN` names them, ``None`` if unknown."""
        known = {**STEP_ACTIVATIONS, "hard_sigmoid": "hardsigmoid"}
        if self.layer.keras < 3:
            known["hard_sigmoid"] = "hard_sigmoid_2"  # of another slope
        activations = {}
        for option, default in self.defaults.items():
            name = activation_name(self.get(option, default))
            activations[option] = known.get(name)
        return activations

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> list[Value]:
        x, *states = with_states(inputs, kwargs.get("initial_state"))
        x = net.keras(x)
        if self.get("go_backwards", False):
            x = net.function(torch.flip, x, [1])
        states = [net.method("unsqueeze", state, 0) for state in states]  # [1, B, H]
        args: list[Any] = [x]
        if states:
            args.append(tuple(states) if self.cell == "lstm" else states[0])
        return self._outputs(net, self._call(net, tuple(args)))

    def _outputs(self, net: Network, module: Value) -> list[Value]:
        """Return the sequence or its last step, and the states where Keras does."""
        returns_sequence = self.get("return_sequences", False)
        returns_state = self.get("return_state", False)
        sequence = net.function(getitem, module, 0)  # [B, T, H]
        if returns_sequence and not returns_state:
            return [sequence]
        last = net.function(getitem, sequence, (slice(None), -1))
        if not returns_state:
            return [last]
        outputs = [sequence if returns_sequence else last, last]  # h is the last output
        if self.cell == "lstm":
            states = net.function(getitem, module, 1)
            c = net.function(getitem, states, 1)  # [1, B, H]
            outputs.append(net.function(getitem, c, 0))  # [B, H]
        return outputs

    def _call(self, net: Network, inputs: Args) -> Value:
        sizes = inputs[0].shape[-1], self["units"]
        stepped = self.stepped()
        if stepped:
            options = self.bias_option | self.activations()
            return net.apply(SteppedRNN, inputs, stepped, *sizes, **options)
        options = {"batch_first": True, **self.bias_option, **self.nonlinearity()}
        return net.apply(self.kind, inputs, *sizes, **options)

    def stepped(self) -> str:
        """Return the cell of `SteppedRNN` that is needed; empty where PyTorch's own
        class does.
        """
        if self.activations() == self.defaults:
            return ""
        return self.cell

    def nonlinearity(self) -> Options:
        """Return what PyTorch's class needs to know of the activation."""
        return {}

    def state(self) -> State:
        """Sort the gates and transpose the kernels. PyTorch has two biases: a single
        one of Keras is its first, the second is zero.
        """
        kernel = self.tensor("kernel", None, self._rows)
        recurrent = self.tensor("recurrent_kernel", self["units"], self._rows)
        state = {
            "weight_ih_l0": self._sorted(kernel).T,
            "weight_hh_l0": self._sorted(recurrent).T,
        }
        if "bias" in self.layer.arrays:
            bias = self.tensor("bias", *self._bias_shape())
            if bias.ndim == 1:
                bias = torch.stack([bias, torch.zeros_like(bias)])
            state["bias_ih_l0"] = self._sorted(bias[0])
            state["bias_hh_l0"] = self._sorted(bias[1])
        return state

    @property
    def _rows(self) -> int:
        return len(self.order) * int(self["units"])

    def _bias_shape(self) -> tuple[int, ...]:
        return (self._rows,)

    def _sorted(self, gates: Tensor) -> Tensor:
        blocks = gates.chunk(len(self.order), -1)  # [..., H] each
        return torch.cat([blocks[index] for index in self.order], -1)


def with_states(inputs: Args, initial_state: Any) -> list[Value]:
    """Return a recurrent layer's input and its first states, however Keras passed
    them.
    """
    values = []
    for value in (*inputs, initial_state):
        values += as_list(value)
    return [value for value in values if value is not None]


@keras_layer
class LSTM(Recurrent):
    """Hochreiter and Schmidhuber 1997; Keras' gates i, f, c, o are PyTorch's i, f, g,
    o.
    """

    cell = "lstm"
    kind = nn.LSTM
    order = (0, 1, 2, 3)  # i, f, g, o


@keras_layer
class GRU(Recurrent):
    """Cho et al. 2014; Keras' gates z, r, h are PyTorch's r, z, n.

    ``reset_after=False``, the only equation before Keras had the option, is not that
    of `nn.GRU`.
    """

    options = Recurrent.options | {"reset_after"}
    cell = "gru"
    kind = nn.GRU
    order = (1, 0, 2)  # r, z, n

    def stepped(self) -> str:
        if self._reset_after():
            return super().stepped()
        return "gru_reset_before"

    def _reset_after(self) -> bool:
        """Whether the reset gate acts after the matrix. Without the option it follows
        from a stored bias, which then has two rows.

        It is written into the configuration, from which alone a port is built again.
        """
        config = self.layer.config
        arrays = self.layer.arrays
        if "reset_after" not in config and "bias" in arrays:
            config["reset_after"] = arrays["bias"].ndim == 2
        return bool(self.get("reset_after", self.layer.keras >= 3))

    def _bias_shape(self) -> tuple[int, ...]:
        if self._reset_after():
            return (2, self._rows)
        return (self._rows,)


@keras_layer
class SimpleRNN(Recurrent):
    """Elman 1990: one matrix for the input, one for the state; `nn.RNN` has tanh and
    relu.
    """

    cell = "rnn"
    kind = nn.RNN
    order = (0,)
    defaults = {"activation": "tanh"}

    def stepped(self) -> str:
        if self.activations()["activation"] in ("tanh", "relu"):
            return ""
        return self.cell

    def nonlinearity(self) -> Options:
        name = self.activations()["activation"]
        if name == "tanh":
            return {}
        return {"nonlinearity": name}


class OfCuDNN(Recurrent):
    """Base of the GPU classes of Keras 2: always two biases, in one row, and input
    kernels in the layout of cuDNN.
    """

    options = {
        "units",
        "return_sequences",
        "return_state",
        "go_backwards",
        "unit_forget_bias",
    }
    weight_group = ""

    def state(self) -> State:
        first, second = self.tensor("bias", 2 * self._rows).chunk(2)
        return {
            "weight_ih_l0": self._gate_rows("kernel", None),
            "weight_hh_l0": self._gate_rows("recurrent_kernel", self["units"]),
            "bias_ih_l0": self._sorted(first),
            "bias_hh_l0": self._sorted(second),
        }

    def _gate_rows(self, name: str, size: int | None) -> Tensor:
        # each gate's block holds the numbers in the order of PyTorch's rows already
        blocks = self.tensor(name, size, self._rows).chunk(len(self.order), -1)
        return torch.cat([blocks[i].reshape(self["units"], -1) for i in self.order])

    def stepped(self) -> str:
        return ""  # they have PyTorch's activations only


@keras_layer
class CuDNNLSTM(OfCuDNN, LSTM):
    """`LSTM` as cuDNN computes it."""


@keras_layer
class CuDNNGRU(OfCuDNN, GRU):
    """`GRU` as cuDNN computes it: the reset gate acts after the matrix."""
