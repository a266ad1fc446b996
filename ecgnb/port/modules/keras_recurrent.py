"""Recurrent layers that PyTorch has not, as one module; an exported model carries its
source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SteppedRNN(nn.Module):
    """A recurrent layer with other activations or another reset gate than `nn.LSTM`,
    `nn.GRU` and `nn.RNN` have.

    It goes step by step in Python, so it is slower than those. Parameters, inputs and
    outputs are named and shaped as theirs with ``batch_first=True``.

    Args:
        cell: ``"lstm"``, ``"gru"``, ``"gru_reset_before"`` (the reset gate acts on the
            state before it meets the matrix, as Cho et al. 2014 have it) or ``"rnn"``.
        input_size: channels of the input.
        hidden_size: channels of the state.
        bias: whether there are biases.
        activation: of the candidate state: a name in `torch.nn.functional`,
            ``"identity"``, or ``"hard_sigmoid_2"``, which is Keras 2's ``clip(0.2 x +
            0.5, 0, 1)``.
        recurrent_activation: of the gates, likewise.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.cell, self.hidden_size = cell, hidden_size
        self.activation, self.recurrent_activation = activation, recurrent_activation
        rows = {"lstm": 4, "rnn": 1}.get(cell, 3) * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows)) if bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # noqa: D102
        step: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = getattr(
            self, f"_{self.cell}"
        )
        zeros = x.new_zeros(x.shape[0], self.hidden_size)
        given = state if isinstance(state, tuple) else (state,)
        h, c = (zeros, zeros) if state is None else (given[0][0], given[-1][0])
        outputs = []
        for part in F.linear(x, self.weight_ih_l0, self.bias_ih_l0).unbind(1):
            h, c = step(part, h, c)
            outputs.append(h)
        return torch.stack(outputs, 1), (
            h[None],
            c[None],
        ) if self.cell == "lstm" else h[None]

    def extra_repr(self) -> str:  # noqa: D102
        sizes = f"{self.weight_ih_l0.shape[1]}, {self.hidden_size}, bias={self.bias_ih_l0 is not None}"
        return f"{self.cell}, {sizes}, {self.activation}, {self.recurrent_activation}"

    def _lstm(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (part + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)).chunk(
            4, 1
        )
        c = self._gate(f) * c + self._gate(i) * self._candidate(g)
        return self._gate(o) * self._candidate(c), c

    def _gru(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        r, z, n = part.chunk(3, 1)
        hr, hz, hn = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, 1)
        z = self._gate(z + hz)
        return z * h + (1 - z) * self._candidate(n + self._gate(r + hr) * hn), c

    def _gru_reset_before(
        self, part: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        gates, n = part[:, : 2 * self.hidden_size], part[:, 2 * self.hidden_size :]
        weights = self.weight_hh_l0.split([2 * self.hidden_size, self.hidden_size])
        bias = self.bias_hh_l0
        biases = (
            (None, None)
            if bias is None
            else bias.split([2 * self.hidden_size, self.hidden_size])
        )
        r, z = self._gate(gates + F.linear(h, weights[0], biases[0])).chunk(2, 1)
        return z * h + (1 - z) * self._candidate(
            n + F.linear(r * h, weights[1], biases[1])
        ), c

    def _rnn(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self._candidate(
            part + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
        ), c

    def _gate(self, x: Tensor) -> Tensor:
        return self._activate(self.recurrent_activation, x)

    def _candidate(self, x: Tensor) -> Tensor:
        return self._activate(self.activation, x)

    @staticmethod
    def _activate(name: str, x: Tensor) -> Tensor:
        if name == "hard_sigmoid_2":
            return (0.2 * x + 0.5).clamp(0, 1)
        return x if name == "identity" else getattr(F, name)(x)
