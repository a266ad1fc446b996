"""`SteppedRNN` against the recurrent layers of PyTorch."""

from __future__ import annotations

import pytest
import torch
from layer_graphs import (
    module_problems,
)
from torch import nn

from ecgnb.port.modules import (
    keras_recurrent,
)
from ecgnb.port.modules.keras_recurrent import SteppedRNN


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_layers_stepped_rnn_is_pytorchs_with_its_activations(cell: str) -> None:
    torch.manual_seed(1)
    own = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](3, 5, batch_first=True)
    stepped = SteppedRNN(cell, 3, 5)
    stepped.load_state_dict(own.state_dict())
    x, h = torch.randn(2, 6, 3), torch.randn(1, 2, 5)
    for state in (None, (h, h * 0.5) if cell == "lstm" else h):
        wanted, got = own(x, state), stepped(x, state)
        torch.testing.assert_close(got[0], wanted[0])
        torch.testing.assert_close(got[1], wanted[1])


def test_keras_recurrent_module_needs_torch_alone() -> None:
    assert module_problems(keras_recurrent) == ["SteppedRNN has no relevance"]
