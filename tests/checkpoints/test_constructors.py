from __future__ import annotations

import collections
import pickle

import pytest
from hostile_pickles import deep, memoised, value_of

from ecgnb.checkpoints.inert import Inert
from ecgnb.core.errors import CheckpointError


@pytest.mark.parametrize("protocol", range(6))
def test_containers_of_the_standard_library_become_plain(protocol: int) -> None:
    ordered = collections.OrderedDict([("b", 1), ("a", [2])])
    ordered._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # as state dicts of modules have
    counted, default = (
        collections.Counter("aab"),
        collections.defaultdict(list, {"k": [1]}),
    )
    held = [ordered, counted, default, bytearray(b"\x00\xff"), {1: {2, 3}}]
    result = value_of(pickle.dumps(held, protocol))
    assert result == [
        dict(ordered),
        {"a": 2, "b": 1},
        {"k": [1]},
        bytearray(b"\x00\xff"),
        {1: {2, 3}},
    ]
    assert (
        list(result[0]) == ["b", "a"]
        and [type(item) for item in result[:3]] == [dict] * 3
    )


def test_constructors_with_odd_arguments_stay_notes() -> None:
    for call in (b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", b"ccollections\nOrderedDict\nK\x01\x85R.",
                 b"c__builtin__\nset\nK\x01\x85R.", b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.",
                 b"ccollections\nOrderedDict\n](K\x01K\x02e\x85R.", b"c__builtin__\ncomplex\nK\x01\x85R."):  # fmt: skip
        assert isinstance(value_of(call), Inert)


def test_keys_that_would_overflow_the_stack_or_never_hash_are_refused() -> None:
    doubled = memoised(b"K\x01", lambda last: last * 2 + b"\x86")
    for key in (deep(300_000, b"t"), doubled):
        with pytest.raises(CheckpointError, match="too many parts"):
            value_of(b"\x80\x02}", key, b"Ns.")
