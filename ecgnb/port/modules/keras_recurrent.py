"""Recurrent layer with the activations and the reset gate that PyTorch has not."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SteppedRNN(nn.Module):
    """A recurrent layer with other activations or another reset gate than `nn.LSTM`,
    `nn.GRU` and `nn.RNN` have.

    It goes step by step in Python, so it is slower than those. Parameters, inputs and
    outputs have their names and shapes with ``batch_first=True``.

    Args:
        cell: ``"lstm"``, ``"gru"``, ``"gru_reset_before"`` (the reset gate acts on the
            state before the matrix, as in Cho et al. 2014) or ``"rnn"``.
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

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        step = getattr(self, f"_{self.cell}")
        h = c = x.new_zeros(x.shape[0], self.hidden_size)
        if isinstance(state, tuple):
            h, c = state[0][0], state[-1][0]
        elif state is not None:
            h = c = state[0]
        outputs = []
        for part in F.linear(x, self.weight_ih_l0, self.bias_ih_l0).unbind(1):
            h, c = step(part, h, c)
            outputs.append(h)
        last = (h[None], c[None]) if self.cell == "lstm" else h[None]
        return torch.stack(outputs, 1), last

    def extra_repr(self) -> str:
        bias = self.bias_ih_l0 is not None
        sizes = f"{self.weight_ih_l0.shape[1]}, {self.hidden_size}, bias={bias}"
        return f"{self.cell}, {sizes}, {self.activation}, {self.recurrent_activation}"

    def _recurrent(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)

    def _lstm(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (part + self._recurrent(h)).chunk(4, 1)
        c = self._gate(f) * c + self._gate(i) * self._candidate(g)
        return self._gate(o) * self._candidate(c), c

    def _gru(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        r, z, n = part.chunk(3, 1)
        hr, hz, hn = self._recurrent(h).chunk(3, 1)
        z = self._gate(z + hz)
        return z * h + (1 - z) * self._candidate(n + self._gate(r + hr) * hn), c

    def _gru_reset_before(
        self, part: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        sizes = [2 * self.hidden_size, self.hidden_size]  # both gates, candidate
        gates, n = part.split(sizes, 1)
        weights, bias = self.weight_hh_l0.split(sizes), self.bias_hh_l0
        biases = (None, None) if bias is None else bias.split(sizes)
        r, z = self._gate(gates + F.linear(h, weights[0], biases[0])).chunk(2, 1)
        n = self._candidate(n + F.linear(r * h, weights[1], biases[1]))
        return z * h + (1 - z) * n, c

    def _rnn(self, part: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self._candidate(part + self._recurrent(h)), c

    def _gate(self, x: Tensor) -> Tensor:
        return self._activate(self.recurrent_activation, x)

    def _candidate(self, x: Tensor) -> Tensor:
        return self._activate(self.activation, x)

    @staticmethod
    def _activate(name: str, x: Tensor) -> Tensor:
        if name == "hard_sigmoid_2":
            return (0.2 * x + 0.5).clamp(0, 1)
        return x if name == "identity" else getattr(F, name)(x)
