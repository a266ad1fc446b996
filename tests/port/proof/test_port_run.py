from __future__ import annotations

import torch
from pairs import golden_pair

from ecgnb.port.proof.compare import compare


def test_compare_leaves_the_port_as_it_was(golden_dir) -> None:
    port, golden = golden_pair(golden_dir, "ribeiro_small")
    port.train()
    before = {name: tensor.clone() for name, tensor in port.state_dict().items()}
    numbers = torch.get_rng_state()
    assert not compare(port, golden).passed
    assert port.training and torch.equal(numbers, torch.get_rng_state())
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in port.state_dict().items()
    )
    assert {tensor.dtype for tensor in port.parameters()} == {torch.float32}
    assert all(parameter.grad is None for parameter in port.parameters())
