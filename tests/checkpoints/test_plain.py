from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hostile_pickles import (
    deep,
    memoised,
    value_of,
)

from ecgnb.checkpoints.container import open_checkpoint
from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.core.errors import CheckpointError


def test_what_is_shared_stays_shared_and_cycles_are_kept() -> None:
    shared: list = [1]
    cycle: dict = {"twice": (shared, shared)}
    cycle["self"] = cycle
    result = value_of(pickle.dumps(cycle))
    assert result["self"] is result and result["twice"][0] is result["twice"][1]
    made = plain(result)
    assert made["self"] is made and made["twice"][0] is made["twice"][1]
    assert (
        len(list(walk(result))) == 6
    )  # the cycle is entered once, the shared list, too


def test_deep_nesting_and_shared_laughter_neither_crash_nor_hang() -> None:
    for kind in (b"l", b"t"):
        result = value_of(b"\x80\x02", deep(100_000, kind), b".")
        assert brief(result) in ("list of 1", "tuple(tuple of 1)", "tuple of 1")
        assert 1 < len(list(walk(result))) < 100
        with pytest.raises(CheckpointError, match="nested deeper than"):
            plain(result)
    laughter = memoised(b"](" + b"N" * 10 + b"e", lambda last: b"](" + last * 10 + b"e")
    result = value_of(laughter, b".")
    assert len(list(walk(result))) == 611 and brief(result) == "list of 10"
    assert len(plain(result)) == 10
    assert (
        repr(value_of(b"cos\nsystem\n", laughter, b"\x85R."))
        == "<inert os.system(list of 10)>"
    )


def test_golden_configurations_come_out_of_their_classes(golden: Path) -> None:
    expected = open_checkpoint(golden / "pretrained_variant.pt").contents["cfg"]
    cfg = plain(
        open_checkpoint(golden / "formats" / "cfg_omegaconf.pt").contents["cfg"]
    )
    assert cfg["model"] == expected["model"] and list(cfg["model"]) == list(
        expected["model"]
    )
    assert cfg["optimization"] == expected["optimization"]
    assert not [item for _, _, item in walk(cfg) if isinstance(item, Inert)]
    args = plain(
        open_checkpoint(golden / "formats" / "args_namespace.pt").contents["args"]
    )
    assert {key: args[key] for key in expected["model"]} == expected["model"]
