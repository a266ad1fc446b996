from __future__ import annotations

import argparse
import collections
import io
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hostile_pickles import audited, short, stream, text
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgnb.checkpoints import opcodes
from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.checkpoints.opcodes import interpret
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.core.errors import CheckpointError


def value_of(*parts: bytes) -> Any:
    return interpret(stream(*parts), "a test").value


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.text(), st.binary(),
    st.complex_numbers(allow_nan=False),
)  # fmt: skip
KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.text(), st.integers()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner),
        st.sets(KEYS),
        st.frozensets(KEYS),
    ),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None)
@given(VALUES, st.integers(0, 5))
def test_plain_values_of_every_protocol_come_back(value: Any, protocol: int) -> None:
    assert value_of(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_containers_of_the_standard_library_become_plain(protocol: int) -> None:
    ordered = collections.OrderedDict([("b", 1), ("a", [2])])
    ordered._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # as state dicts of modules have
    counted, default = (
        collections.Counter("aab"),
        collections.defaultdict(list, {"k": [1]}),
    )
    held = [ordered, counted, default, bytearray(b"\x00\xff"), {1: {2, 3}}]
    found = value_of(pickle.dumps(held, protocol))
    assert found == [
        dict(ordered),
        {"a": 2, "b": 1},
        {"k": [1]},
        bytearray(b"\x00\xff"),
        {1: {2, 3}},
    ]
    assert (
        list(found[0]) == ["b", "a"]
        and [type(each) for each in found[:3]] == [dict] * 3
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_become_notes_of_what_they_are(protocol: int) -> None:
    array, args = (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        argparse.Namespace(lr=0.1, layers=[1, 2]),
    )
    queue = collections.deque([1, 2], maxlen=5)
    unpickled = interpret(
        io.BytesIO(pickle.dumps({"a": array, "n": args, "q": queue}, protocol)),
        "a test",
    )
    found = unpickled.value
    assert found["n"].name == "argparse.Namespace" and found["n"].state == {
        "lr": 0.1,
        "layers": [1, 2],
    }
    assert plain(found)["n"] == {"lr": 0.1, "layers": [1, 2]}
    assert (
        found["q"].name == "collections.deque"
        and found["q"].args == ((), 5)
        and found["q"].items == [1, 2]
    )
    assert unpickled.globals["argparse.Namespace"].called == 1
    if protocol < 5:
        assert found["a"].name.endswith("multiarray._reconstruct") and found["a"].state[
            1
        ] == (2, 3)
        assert found["a"].state[4] == array.tobytes()


def test_what_is_shared_stays_shared_and_cycles_are_kept() -> None:
    shared: list = [1]
    cycle: dict = {"twice": (shared, shared)}
    cycle["self"] = cycle
    found = value_of(pickle.dumps(cycle))
    assert found["self"] is found and found["twice"][0] is found["twice"][1]
    made = plain(found)
    assert made["self"] is made and made["twice"][0] is made["twice"][1]
    assert (
        len(list(walk(found))) == 6
    )  # the cycle is entered once, the shared list, too


COMMAND = text("touch should_not_exist")

#: Ways to have something called: bytes of the pickle, and the name and arguments that
#: must be noted.
CALLS = {
    "protocol 0": (b"cposix\nsystem\n(S'touch x'\ntR.", "posix.system", ("touch x",)),
    "reduce": (b"\x80\x02cos\nsystem\n" + COMMAND + b"\x85R.", "os.system", ("touch should_not_exist",)),
    "inst": (b"(S'id'\nios\nsystem\n.", "os.system", ("id",)),
    "obj": (b"(cos\nsystem\n" + COMMAND + b"o.", "os.system", ("touch should_not_exist",)),
    "newobj": (b"\x80\x02csubprocess\nPopen\n" + text("id") + b"\x85\x81.", "subprocess.Popen", ("id",)),
    "newobj_ex": (b"\x80\x04cos\nsystem\n)}" + text("command") + COMMAND + b"s\x92.", "os.system", ()),
    "stack_global": (b"\x80\x04" + short("os") + short("system") + b"\x93" + COMMAND + b"\x85R.", "os.system",
                     ("touch should_not_exist",)),
    "dotted": (b"\x80\x04" + short("torch") + short("_utils.os.system") + b"\x93" + COMMAND + b"\x85R.",
               "torch._utils.os.system", ("touch should_not_exist",)),
    "extension": (b"\x80\x02\x82\x07)R.", "copyreg.extension_7", ()),
    "eval": (b"c__builtin__\neval\n" + text("1+1") + b"\x85R.", "__builtin__.eval", ("1+1",)),
}  # fmt: skip


@pytest.mark.parametrize("way", CALLS)
def test_every_way_of_calling_leaves_a_note_and_runs_nothing(way: str) -> None:
    data, name, args = CALLS[way]
    with audited() as events:
        unpickled = interpret(io.BytesIO(data), "a test")
    assert not events
    assert unpickled.value.name == name and unpickled.value.args == args
    assert unpickled.globals[name].called == 1 and unpickled.globals[name].examples == [
        unpickled.value
    ]
    assert way != "newobj_ex" or unpickled.value.kwargs == {
        "command": "touch should_not_exist"
    }


def test_the_audit_would_hear_it() -> None:
    with audited() as events:
        assert pickle.loads(CALLS["eval"][0]) == 2
    assert [event.split()[0] for event in events][:2] == [
        "pickle.find_class",
        "compile",
    ]


def test_calling_what_a_call_returned_is_noted() -> None:
    getattr_ = b"c__builtin__\ngetattr\ncos\nsystem\n" + text("__call__") + b"\x86R"
    unpickled = interpret(stream(getattr_, COMMAND, b"\x85R."), "a test")
    assert set(unpickled.globals) == {
        "__builtin__.getattr",
        "os.system",
        "result of __builtin__.getattr",
    }
    assert unpickled.value.args == ("touch should_not_exist",)
    nested = getattr_ + b")R" * 1000 + b"."
    assert (
        len(interpret(io.BytesIO(nested), "a test").globals) == 3
    )  # names do not grow with each call


def test_changes_of_a_global_are_counted() -> None:
    """``sys.modules["os"] = x`` and attributes of a module need no call at all."""
    for data in (
        b"csys\nmodules\n" + text("os") + b"Ns.",
        b"csys\nmodules\n}" + text("x") + b"K\x01sb.",
    ):
        unpickled = interpret(io.BytesIO(data), "a test")
        assert (
            unpickled.globals["sys.modules"].changed == 1 and not unpickled.value.called
        )


def test_persistent_ids_of_any_kind_stay_inert() -> None:
    assert value_of(b"P12\n.").args == ("12",)
    assert value_of(b"K\x05Q.").args == (5,)
    assert value_of(b"]Q.").args == ([],)
    taken = interpret(
        io.BytesIO(b"K\x05Q."),
        "a test",
        persistent=lambda key: key + 1 if key == 5 else None,
    )
    assert taken.value == 6


MALFORMED = {
    "empty": b"",
    "no stop": b"\x80\x02}",
    "unknown opcode": b"\x80\x02\xff.",
    "protocol 6": b"\x80\x06N.",
    "empty stack": b".",
    "pop of nothing": b"0.",
    "no mark": b"t.",
    "take across a mark": b"K\x01(\x85.",
    "memo": b"h\x00.",
    "negative put": b"Np-1\ng5\n.",
    "text cut": b"X\xff\xff\xff\x7fab.",
    "bytes8 cut": b"\x8e" + struct.pack("<Q", 2**62) + b"ab.",
    "bytes of any size": b"\x8e" + b"\xff" * 8 + b"ab.",
    "long4": b"\x8b\xff\xff\xff\xffab.",
    "text not utf-8": b"X\x02\x00\x00\x00\xff\xfe.",
    "number": b"Iabc\n.",
    "number of 5000 digits": b"I" + b"9" * 5000 + b"\n.",
    "float": b"Fxyz\n.",
    "string": b"Sabc\n.",
    "global cut": b"cos",
    "name no text": b"\x80\x04K\x01K\x02\x93.",
    "call of a number": b"K\x01)R.",
    "call with a list": b"cos\nsystem\n]R.",
    "object of nothing": b"(o.",
    "list as key": b"}]Ns.",
    "key without value": b"}(Nu.",
    "set of lists": b"\x8f(]\x90.",
    "append to a number": b"K\x01Na.",
    "build a list": b"]Nb.",
    "out of band": b"\x80\x05\x97.",
    "not latin-1": b"c_codecs\nencode\n" + text("\u20ac") + text("latin1") + b"\x86R.",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_damaged_pickles_are_told_with_their_place(case: str) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"a test cannot be read: its pickle is damaged near byte \d+",
    ):
        value_of(MALFORMED[case])


def test_constructors_with_odd_arguments_stay_notes() -> None:
    for call in (b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", b"ccollections\nOrderedDict\nK\x01\x85R.",
                 b"c__builtin__\nset\nK\x01\x85R.", b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.",
                 b"ccollections\nOrderedDict\n](K\x01K\x02e\x85R.", b"c__builtin__\ncomplex\nK\x01\x85R."):  # fmt: skip
        assert isinstance(value_of(call), Inert)


def deep(levels: int, kind: bytes) -> bytes:
    return {b"l": b"]" * levels + b"a" * (levels - 1), b"t": b")" + b"\x85" * levels}[
        kind
    ]


def memoised(first: bytes, wrap: Callable[[bytes], bytes]) -> bytes:
    """A value wrapped sixty times, each time around the one before taken from the
    memo."""
    data = first + b"q\x00"
    for level in range(60):
        data += b"0" + wrap(b"h" + bytes([level])) + b"q" + bytes([level + 1])
    return data


def test_deep_nesting_and_shared_laughter_neither_crash_nor_hang() -> None:
    for kind in (b"l", b"t"):
        found = value_of(b"\x80\x02", deep(100_000, kind), b".")
        assert brief(found) in ("list of 1", "tuple(tuple of 1)", "tuple of 1")
        assert 1 < len(list(walk(found))) < 100
        with pytest.raises(CheckpointError, match="nested deeper than"):
            plain(found)
    laughter = memoised(b"](" + b"N" * 10 + b"e", lambda last: b"](" + last * 10 + b"e")
    found = value_of(laughter, b".")
    assert len(list(walk(found))) == 611 and brief(found) == "list of 10"
    assert len(plain(found)) == 10
    assert (
        repr(value_of(b"cos\nsystem\n", laughter, b"\x85R."))
        == "<inert os.system(list of 10)>"
    )


def test_keys_that_would_overflow_the_stack_or_never_hash_are_refused() -> None:
    doubled = memoised(b"K\x01", lambda last: last * 2 + b"\x86")
    for key in (deep(300_000, b"t"), doubled):
        with pytest.raises(CheckpointError, match="too many parts"):
            value_of(b"\x80\x02}", key, b"Ns.")


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


def test_memory_stays_small_whatever_the_file_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A memo index of four billion; one list of which sets are built again and
    again."""
    monkeypatch.setattr(opcodes, "MAX_STEPS", 200_000)
    members = b"".join(b"M" + struct.pack("<H", n) for n in range(10_000))
    amplified = (
        b"\x80\x02c__builtin__\nset\nq\x00("
        + members
        + b"lq\x01("
        + b"h\x00h\x01\x85R" * 5_000
        + b"l."
    )
    tracemalloc.start()
    assert value_of(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff.") is None
    small = tracemalloc.get_traced_memory()[1]
    with pytest.raises(
        CheckpointError,
        match="more than 200,000 instructions, which no checkpoint does",
    ):
        value_of(amplified)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert small < 1e5 and peak < 10e6  # 5,000 sets of 10,000 would take 2.6 GB


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_clear_error(data: bytes) -> None:
    try:
        found = interpret(io.BytesIO(data + b"."), "a test").value
    except CheckpointError:
        return
    assert len(brief(found)) < 5_000
    list(walk(found))
