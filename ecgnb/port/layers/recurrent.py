"""Recurrent layers: `nn.LSTM`, `nn.GRU` and `nn.RNN` where they say the same, else
`SteppedRNN`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecgnb.port.layers.activation import activation_name
from ecgnb.port.layers.base import LAYERS, LayerRule, Only, State
from ecgnb.port.modules.keras_recurrent import SteppedRNN
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.keras_weights import Variable

#: Keras' names of activations within recurrent layers, and how `SteppedRNN` calls them.
STEP_ACTIVATIONS = {
    "linear": "identity",
    "swish": "silu",
    **{
        name: name
        for name in (
            "tanh",
            "sigmoid",
            "relu",
            "elu",
            "selu",
            "silu",
            "softplus",
            "softsign",
            "gelu",
        )
    },
}


class Recurrent(LayerRule):
    """What LSTM, GRU and SimpleRNN have in common. Dropout inside the cell is left out:
    it is nothing at inference.

    Attributes:
        cell: its name in `SteppedRNN`.
        kind: PyTorch's class.
        order: for each block of rows in PyTorch, its place among the gates of Keras.
        defaults: the activations that `kind` has, by their option.
    """

    options = frozenset({
        "units", "use_bias", "return_sequences", "return_state", "go_backwards", "activation", "recurrent_activation",
        "unit_forget_bias", "dropout", "recurrent_dropout", "implementation", "unroll", "use_cudnn",
        "zero_output_for_mask", "input_dtype",
    })  # fmt: skip
    only: ClassVar[Only] = {"stateful": (False,), "time_major": (False,)}
    arguments = frozenset({"initial_state"})
    cell: str
    kind: type[nn.Module]
    order: tuple[int, ...]
    defaults: ClassVar[dict[str, str]] = {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
    }

    def variables(self) -> list[Variable]:
        """Return kernels and bias, which Keras 3 stores with the cell."""
        names = [
            "kernel",
            "recurrent_kernel",
            *(["bias"] if self.get("use_bias", True) else []),
        ]
        return [Variable(name, group="cell") for name in names]

    def problems(self) -> Iterator[str]:
        """Yield unknown options, and activations that no module has."""
        yield from super().problems()
        for option, default in self.defaults.items():
            if self._step_activation(option) is None:
                name = activation_name(self.get(option, default))
                yield f"{option}={name!r} is unknown to the port in a recurrent layer"

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> list[Value]:
        """Write it; several outputs where states are returned."""
        x, *states = given_states(inputs, kwargs.get("initial_state"))
        x = net.keras(x)
        if self.get("go_backwards", False):
            x = net.function(torch.flip, x, [1])
        states = [net.method("unsqueeze", state, 0) for state in states]
        state = (tuple(states) if self.cell == "lstm" else states[0],) if states else ()
        both = self._call(net, name, x, state)
        sequence = net.function(operator.getitem, both, 0)
        last = (
            net.function(operator.getitem, sequence, (slice(None), -1))
            if self._last_needed()
            else sequence
        )
        output = sequence if self.get("return_sequences", False) else last
        if not self.get("return_state", False):
            return [output]
        return [
            output,
            last,
            *([self._cell_state(net, both)] if self.cell == "lstm" else []),
        ]

    def _last_needed(self) -> bool:
        return bool(
            self.get("return_state", False) or not self.get("return_sequences", False)
        )

    def state(self) -> State:
        """Sort the gates, transpose the kernels; one bias of Keras is PyTorch's first,
        the second is zero.
        """
        state = {
            "weight_ih_l0": self._sorted(self.tensor("kernel", None, self._rows)).T,
            "weight_hh_l0": self._sorted(
                self.tensor("recurrent_kernel", self["units"], self._rows)
            ).T,
        }
        if "bias" in self.layer.arrays:
            bias = self.tensor("bias", *self._bias_shape())
            first, second = bias if bias.ndim == 2 else (bias, torch.zeros_like(bias))
            state |= {
                "bias_ih_l0": self._sorted(first),
                "bias_hh_l0": self._sorted(second),
            }
        return state

    def stepped(self) -> str:
        """Return the cell of `SteppedRNN` that is needed, or nothing where PyTorch's
        own class does.
        """
        same = all(
            self._step_activation(option) == default
            for option, default in self.defaults.items()
        )
        return "" if same else self.cell

    def _call(self, net: Network, name: str, x: Value, state: tuple[Any, ...]) -> Value:
        bias: dict[str, Any] = {} if self.get("use_bias", True) else {"bias": False}
        cell = self.stepped()
        if not cell:
            sizes = (x.shape[-1], self["units"])
            return net.apply(
                name,
                self.kind,
                (x, *state),
                *sizes,
                batch_first=True,
                **bias,
                **self._own_options(),
            )
        acts = {option: self._step_activation(option) for option in self.defaults}
        return net.apply(
            name,
            SteppedRNN,
            (x, *state),
            cell,
            x.shape[-1],
            self["units"],
            **bias,
            **acts,
        )

    @property
    def _rows(self) -> int:
        return len(self.order) * int(self["units"])

    def _bias_shape(self) -> tuple[int, ...]:
        return (self._rows,)

    def _own_options(self) -> dict[str, Any]:
        return {}

    def _cell_state(self, net: Network, both: Value) -> Value:
        states = net.function(operator.getitem, both, 1)
        return net.function(
            operator.getitem, net.function(operator.getitem, states, 1), 0
        )

    def _step_activation(self, option: str) -> str | None:
        name = activation_name(self.get(option, self.defaults[option]))
        if name == "hard_sigmoid":  # another line in Keras 2 than in Keras 3
            return "hard_sigmoid_2" if self.layer.keras < 3 else "hardsigmoid"
        return STEP_ACTIVATIONS.get(name)

    def _sorted(self, gates: Tensor) -> Tensor:
        blocks = gates.chunk(len(self.order), -1)
        return torch.cat([blocks[place] for place in self.order], -1)


def given_states(inputs: tuple[Any, ...], named: Any) -> list[Value]:
    """Return a recurrent layer's input and its first states, wherever Keras wrote
    them.
    """
    flat: list[Value] = []
    for each in (*inputs, named):
        flat += (
            each if isinstance(each, list | tuple) else [] if each is None else [each]
        )
    return flat


@LAYERS.register("LSTM")
class LSTM(Recurrent):
    """Hochreiter and Schmidhuber 1997; Keras' gates i, f, c, o are PyTorch's i, f, g,
    o.
    """

    cell = "lstm"
    kind = nn.LSTM
    order = (0, 1, 2, 3)


@LAYERS.register("GRU")
class GRU(Recurrent):
    """Cho et al. 2014; Keras' gates z, r, h are PyTorch's r, z, n.

    ``reset_after=False``, which is all that Keras knew before it had the option, is not
    `nn.GRU`'s equation.
    """

    options = Recurrent.options | {"reset_after"}
    cell = "gru"
    kind = nn.GRU
    order = (1, 0, 2)

    def stepped(self) -> str:
        """Return the cell of `SteppedRNN` that is needed, if any."""
        return super().stepped() if self._reset_after() else "gru_reset_before"

    def _reset_after(self) -> bool:
        """Where the option is left out, a stored bias tells: it has two rows for the
        reset gate after the matrix.

        What it tells is written into the configuration, from which alone a port is
        built again.
        """
        config, arrays = self.layer.config, self.layer.arrays
        if "reset_after" not in config and "bias" in arrays:
            config["reset_after"] = arrays["bias"].ndim == 2
        return bool(self.get("reset_after", self.layer.keras >= 3))

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, self._rows) if self._reset_after() else (self._rows,)


@LAYERS.register("SimpleRNN")
class SimpleRNN(Recurrent):
    """Elman 1990: one matrix for the input, one for the state."""

    cell = "rnn"
    kind = nn.RNN
    order = (0,)
    defaults: ClassVar[dict[str, str]] = {"activation": "tanh"}

    def stepped(self) -> str:
        """`nn.RNN` knows tanh and relu."""
        return (
            "" if self._step_activation("activation") in ("tanh", "relu") else self.cell
        )

    def _own_options(self) -> dict[str, Any]:
        name = self._step_activation("activation")
        return {} if name == "tanh" else {"nonlinearity": name}


class OfCuDNN(Recurrent):
    """The GPU classes of Keras 2: always two biases, in one row, and input kernels laid
    out as cuDNN wants them.
    """

    options = frozenset(
        {
            "units",
            "return_sequences",
            "return_state",
            "go_backwards",
            "unit_forget_bias",
        }
    )

    def variables(self) -> list[Variable]:
        """Return kernels and bias, which these classes keep themselves."""
        return [Variable(name) for name in ("kernel", "recurrent_kernel", "bias")]

    def state(self) -> State:
        """Read each gate's block as rows of PyTorch; the numbers lie in that order
        already.
        """
        inputs = {"kernel": None, "recurrent_kernel": self["units"]}
        blocks = {
            name: self.tensor(name, size, self._rows).chunk(len(self.order), -1)
            for name, size in inputs.items()
        }
        rows = {
            name: torch.cat(
                [blocks[name][place].reshape(self["units"], -1) for place in self.order]
            )
            for name in blocks
        }
        first, second = self.tensor("bias", 2 * self._rows).chunk(2)
        return {
            "weight_ih_l0": rows["kernel"],
            "weight_hh_l0": rows["recurrent_kernel"],
            "bias_ih_l0": self._sorted(first),
            "bias_hh_l0": self._sorted(second),
        }

    def stepped(self) -> str:
        """Return nothing: they have PyTorch's activations only."""
        return ""


@LAYERS.register("CuDNNLSTM")
class CuDNNLSTM(OfCuDNN):
    """`LSTM` as cuDNN computes it."""

    cell = "lstm"
    kind = nn.LSTM
    order = (0, 1, 2, 3)


@LAYERS.register("CuDNNGRU")
class CuDNNGRU(OfCuDNN):
    """`GRU` as cuDNN computes it: the reset gate acts after the matrix."""

    cell = "gru"
    kind = nn.GRU
    order = (1, 0, 2)
