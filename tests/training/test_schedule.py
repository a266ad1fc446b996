from __future__ import annotations

import pytest
import torch

from ecgnb.training.config import TrainConfig
from ecgnb.training.optimizer import learning_rate

STEPS = (0, 1, 2, 6, 10, 11, 15, 19)
GOLDEN = {
    "cosine": [0.5, 1.0, 1.0, 0.883022, 0.586824, 0.5, 0.178606, 0.007596],
    "step": [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01],
    "one-cycle": [
        0.04,
        0.131672,
        0.371672,
        0.987464,
        0.716943,
        0.611262,
        0.188258,
        4e-06,
    ],
    "none": [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("scheduler", GOLDEN)
def test_golden_numbers(scheduler: str) -> None:
    config = TrainConfig(lr=1.0, scheduler=scheduler, warmup_fraction=0.1)
    found = [learning_rate(step, 20, config) for step in STEPS]
    assert found == pytest.approx(GOLDEN[scheduler], abs=1e-6)


def _rates_of_torch(make_scheduler: type, n: int, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make_scheduler(optimizer, **options)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("n", [7, 40, 333])
def test_parity_with_pytorch(n: int) -> None:
    ours = TrainConfig(lr=0.3, scheduler="one-cycle")
    theirs = _rates_of_torch(
        torch.optim.lr_scheduler.OneCycleLR, n, max_lr=0.3, total_steps=n
    )
    assert [learning_rate(step, n, ours) for step in range(n)] == pytest.approx(
        theirs, rel=1e-9
    )
    ours = TrainConfig(lr=0.3, scheduler="cosine", warmup_fraction=0)
    theirs = _rates_of_torch(torch.optim.lr_scheduler.CosineAnnealingLR, n, T_max=n)
    assert [learning_rate(step, n, ours) for step in range(n)] == pytest.approx(
        theirs, rel=1e-9
    )


@pytest.mark.parametrize("scheduler", GOLDEN)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_shortest_trainings_have_a_rate(scheduler: str, n: int) -> None:
    config = TrainConfig(lr=0.1, scheduler=scheduler, warmup_fraction=0.5)
    assert all(0 < learning_rate(step, n, config) <= 0.1 + 1e-12 for step in range(n))
