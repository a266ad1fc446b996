from __future__ import annotations

from pathlib import Path

import torch

from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.foundation.stand_in import SMALL, stand_in, write_checkpoint


def test_what_is_written_in_the_originals_layout_comes_back(tmp_path: Path) -> None:
    path = stand_in(
        tmp_path / "one.pt",
        n_classes=26,
        seed=3,
        norm_first=True,
        conv_bias=True,
        **SMALL,
    )
    model = load_ecg_fm(path)
    assert model.n_classes == 26 and model.norm_first and model.origin.file == "one.pt"
    again = load_ecg_fm(write_checkpoint(tmp_path / "two.pt", model))
    assert all(
        torch.equal(value, again.state_dict()[name])
        for name, value in model.state_dict().items()
    )
