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
        self.cell = cell
        self.hidden_size = hidden_size
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        n_gates = {"lstm": 4, "rnn": 1}.get(cell, 3)
        rows = n_gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0: nn.Parameter | None = None
        self.bias_hh_l0: nn.Parameter | None = None
        if bias:
            self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
            self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        bound = hidden_size**-0.5  # as `nn.LSTM` initialises
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h = c = x.new_zeros(x.shape[0], self.hidden_size)
        if isinstance(state, tuple):  # of an LSTM: h and c, [1, B, H] each
            h = state[0][0]
            c = state[-1][0]
        elif state is not None:
            h = c = state[0]
        step = getattr(self, f"_{self.cell}")
        projected = F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        outputs = []
        for x_t in projected.unbind(1):  # [B, gates * H] at one time step
            h, c = step(x_t, h, c)
            outputs.append(h)
        sequence = torch.stack(outputs, 1)  # [B, T, H]
        if self.cell == "lstm":
            return sequence, (h[None], c[None])
        return sequence, h[None]

    def extra_repr(self) -> str:
        bias = self.bias_ih_l0 is not None
        sizes = f"{self.weight_ih_l0.shape[1]}, {self.hidden_size}, bias={bias}"
        return f"{self.cell}, {sizes}, {self.activation}, {self.recurrent_activation}"

    def _lstm(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        # Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000
        gates = x + self._recurrent(h)
        i, f, g, o = gates.chunk(4, 1)
        kept = self._gate(f) * c
        added = self._gate(i) * self._candidate(g)
        c = kept + added
        h = self._gate(o) * self._candidate(c)
        return h, c

    def _gru(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        # Cho et al. 2014, but as in cuDNN r acts after the matrix
        xr, xz, xn = x.chunk(3, 1)
        hr, hz, hn = self._recurrent(h).chunk(3, 1)
        r = self._gate(xr + hr)
        z = self._gate(xz + hz)
        n = self._candidate(xn + r * hn)
        h = z * h + (1 - z) * n
        return h, c  # c is of LSTMs only

    def _gru_reset_before(
        self, x: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Cho et al. 2014, equations 5 to 8
        sizes = [2 * self.hidden_size, self.hidden_size]  # r and z, candidate
        x_gates, x_n = x.split(sizes, 1)
        w_gates, w_n = self.weight_hh_l0.split(sizes)
        b_gates = b_n = None
        if self.bias_hh_l0 is not None:
            b_gates, b_n = self.bias_hh_l0.split(sizes)
        h_gates = F.linear(h, w_gates, b_gates)
        r, z = self._gate(x_gates + h_gates).chunk(2, 1)
        h_n = F.linear(r * h, w_n, b_n)
        n = self._candidate(x_n + h_n)
        h = z * h + (1 - z) * n
        return h, c

    def _rnn(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        # Elman 1990
        h = self._candidate(x + self._recurrent(h))
        return h, c

    def _recurrent(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)

    def _gate(self, x: Tensor) -> Tensor:
        return self._activate(self.recurrent_activation, x)

    def _candidate(self, x: Tensor) -> Tensor:
        return self._activate(self.activation, x)

    @staticmethod
    def _activate(name: str, x: Tensor) -> Tensor:
        if name == "identity":
            return x
        if name == "hard_sigmoid_2":
            return (0.2 * x + 0.5).clamp(0, 1)
        return getattr(F, name)(x)
