"""Zero-phase filters: the continuation beyond the ends of a record."""

from __future__ import annotations

import torch

from ecgnb.transforms.filters import reflect


def test_reflect_mirrors_the_valid_part():
    x = torch.arange(10.0)[None, None]
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, 3:7] = True
    assert reflect(x, 2, 3, None)[0, 0].tolist() == [2, 1, *range(10), 8, 7, 6]
    assert reflect(x, 0, 0, mask)[0, 0].tolist() == [6, 5, 4, 3, 4, 5, 6, 5, 4, 3]
