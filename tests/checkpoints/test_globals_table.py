from __future__ import annotations

import argparse
import collections
import pathlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecgnb.checkpoints.globals_table import _TENSOR_NAMES, effect_of
from ecgnb.checkpoints.inspection import inspect_checkpoint
from ecgnb.checkpoints.opcodes import Use


def refused_by_torch(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return True
    return False


class Strange:
    def __init__(self) -> None:
        self.kept = 1


SAVED: dict[str, Any] = {
    "tensors": {"w": torch.ones(2), "s": torch.eye(2).to_sparse(), "c": torch.ones(2, dtype=torch.complex64).conj()},
    "types": {"d": torch.float16, "size": torch.Size([2]), "dev": torch.device("cpu"), "n": 2**70,
              "u": torch.ones(2).to(torch.uint16)},
    "containers": collections.OrderedDict(a={1, 2}, b=collections.Counter("ab"), c=b"x", d=bytearray(b"y"), e=1j),
    "module": torch.nn.Linear(2, 2).state_dict(),
    "whole module": torch.nn.Linear(2, 2),
    "default": collections.defaultdict(list, {"a": [1]}),
    "frozen": frozenset([1]),
    "namespace": argparse.Namespace(a=1),
    "path": pathlib.PurePosixPath("a/b"),
    "array": np.ones(2),
    "own class": Strange(),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", SAVED)
def test_what_weights_only_refuses_is_what_torch_refuses(
    tmp_path: Path, case: str, zipped: bool
) -> None:
    if not zipped and case == "types":
        pytest.skip("the old container has no such types")
    torch.save(SAVED[case], tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    result = inspect_checkpoint(tmp_path / "x.pt")
    assert bool(result.refused) == refused_by_torch(tmp_path / "x.pt")
    assert not result.dangerous


def test_protocol_4_is_refused_as_by_torch(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "cfg": ["a"]}, tmp_path / "x.pt", pickle_protocol=4)
    result = inspect_checkpoint(tmp_path / "x.pt")
    assert "the instruction FRAME" in result.refused
    with pytest.warns(UserWarning, match="protocol"):
        assert refused_by_torch(tmp_path / "x.pt")


def test_the_names_of_tensor_builders_are_those_torch_allows() -> None:
    allowed = torch._weights_only_unpickler._get_allowed_globals()  # type: ignore[attr-defined]
    assert {name for name in _TENSOR_NAMES if name.startswith("torch._utils")} <= set(
        allowed
    )
    assert (
        len(
            [
                name
                for name in _TENSOR_NAMES
                if name not in allowed and ".cuda." not in name
            ]
        )
        == 0
    )


@pytest.mark.parametrize(
    "effect",
    ["builds tensors", "plain container", "plain value", "builds NumPy arrays"],
)
def test_each_kind_of_harmless_name_has_its_words(effect: str) -> None:
    names = (
        "torch.Size",
        "collections.OrderedDict",
        "_codecs.encode",
        "numpy.core.multiarray.scalar",
    )
    assert effect in {effect_of(name, Use(1, 1)).text for name in names}
