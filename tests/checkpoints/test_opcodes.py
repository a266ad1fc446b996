from __future__ import annotations

import argparse
import collections
import io
import pickle
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hostile_pickles import audited, short, stream, text, value_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgnb.checkpoints import opcodes
from ecgnb.checkpoints.inert import brief
from ecgnb.checkpoints.opcodes import interpret
from ecgnb.checkpoints.plain import plain, walk
from ecgnb.core.errors import CheckpointError

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
    result = unpickled.value
    assert result["n"].name == "argparse.Namespace" and result["n"].state == {
        "lr": 0.1,
        "layers": [1, 2],
    }
    assert plain(result)["n"] == {"lr": 0.1, "layers": [1, 2]}
    assert (
        result["q"].name == "collections.deque"
        and result["q"].args == ((), 5)
        and result["q"].items == [1, 2]
    )
    assert unpickled.globals["argparse.Namespace"].called == 1
    if protocol < 5:
        assert result["a"].name.endswith("multiarray._reconstruct") and result[
            "a"
        ].state[1] == (2, 3)
        assert result["a"].state[4] == array.tobytes()


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
def test_damaged_pickles_are_refused_with_their_position(case: str) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"a test cannot be read: its pickle is damaged near byte \d+",
    ):
        value_of(MALFORMED[case])


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
        result = interpret(io.BytesIO(data + b"."), "a test").value
    except CheckpointError:
        return
    assert len(brief(result)) < 5_000
    list(walk(result))
