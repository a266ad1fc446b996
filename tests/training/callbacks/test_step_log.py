from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from training_fakes import StopAt, fit_fake

from ecgnb.training.callbacks.step_log import StepLog
from ecgnb.training.config import TrainConfig
from ecgnb.training.optimizer import learning_rate

CONFIG = TrainConfig(epochs=2, batch_size_cpu=8, lr=1e-2, device="cpu")


def test_a_resumed_training_writes_the_rows_of_one_that_was_not_stopped(
    tmp_path: Path,
) -> None:
    """37 records: 5 steps per epoch; the checkpoint is after step 5, the stop after 7."""
    fit_fake(CONFIG, tmp_path / "whole", callbacks=(StepLog(),))
    with pytest.raises(KeyboardInterrupt):
        fit_fake(CONFIG, tmp_path / "parts", callbacks=(StepLog(), StopAt(7)))
    fit_fake(CONFIG, tmp_path / "parts", callbacks=(StepLog(),))
    texts = [(tmp_path / name / "steps.csv").read_text() for name in ("whole", "parts")]
    assert texts[0] == texts[1]
    table = pd.read_csv(tmp_path / "whole" / "steps.csv")
    assert table["step"].tolist() == list(range(1, 11))
    assert table["epoch"].tolist() == [1] * 5 + [2] * 5
    expected = [learning_rate(step, 10, CONFIG) for step in range(10)]
    assert table["lr"].tolist() == expected
