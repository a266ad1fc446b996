from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.checkpoints.plain import walk


def test_texts_of_notes_are_short_and_clean() -> None:
    assert brief("a\x1b[2J\n") == r"'a\x1b[2J\n'"
    assert (
        brief(Inert("os\x1b.system", ("x" * 10_000,)))
        == r"os\x1b.system('" + "x" * 120 + "'...)"
    )
    assert brief(1 << 100_000) == "a number of 100001 bits"
    assert (
        brief(Inert("m.f", ([0.25, 120.5], {"patient": 7}, ("sh", "-c"))))
        == "m.f(list of 2, dict of 1, tuple('sh', '-c'))"
    )
    inner = Inert("m.g", ())
    inner.args = (inner,)
    assert brief(inner) == "m.g(m.g(...))"


def test_scores_of_a_fine_tuned_file_stay_bytes(golden: Path) -> None:
    metrics = open_checkpoint(golden / "finetuned.pt").contents["extra_state"][
        "metrics"
    ]
    arrays = [
        item
        for _, _, item in walk(metrics)
        if isinstance(item, Inert) and item.name.endswith("._reconstruct")
    ]
    assert [array.state[1] for array in arrays] == [(3, 17)] * 4
    scores = np.frombuffer(arrays[0].state[4], "<f4")
    assert scores.shape == (51,) and scores.min() > 0 and scores.max() < 1
