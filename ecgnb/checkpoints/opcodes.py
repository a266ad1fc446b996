"""What a pickle says, without doing any of it.

A pickle is a program for a stack machine; three of its instructions import and call
things, which is how a checkpoint can run commands on the machine that loads it. Here
`pickletools`, which only parses, takes the instructions apart, and this module carries
out those that build plain values. What would have been imported or called becomes an
`Inert` note. Instructions:
https://github.com/python/cpython/blob/main/Lib/pickletools.py, protocols 0 to 5.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ecgnb.checkpoints.constructors import (
    CONSTRUCTORS,
    Constructor,
    Inert,
    brief,
    checked_key,
    cost,
    modern,
)
from ecgnb.core.errors import CheckpointError

#: Instructions of one pickle, what constructors build included. Published checkpoints
#: have some 30,000; the limit keeps a file of a few bytes an instruction from filling
#: the memory (with 4 million empty sets, 0.9 GB).
MOST_STEPS = 4_000_000

#: Calls of a global that are kept as examples.
_MOST_EXAMPLES = 3

#: Instructions whose argument is the value.
_LITERALS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip
_FRESH: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


class Stream(Protocol):
    """What a pickle is read from: a file, `io.BytesIO` or `mmap.mmap`."""

    def read(self, n: int, /) -> bytes:
        """Return up to n bytes."""

    def readline(self) -> bytes:
        """Return bytes up to the end of a line."""

    def tell(self) -> int:
        """Return the place in the file."""


@dataclass(slots=True)
class Use:
    """What a pickle does with one global.

    Attributes:
        named: how often the pickle names it.
        called: how often it calls it.
        changed: how often it changes the thing itself: an attribute of a class, an item
            of ``sys.modules``.
        examples: the first calls that are not built here.
    """

    named: int = 0
    called: int = 0
    changed: int = 0
    examples: list[Inert] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Unpickled:
    """What a pickle holds.

    Attributes:
        value: plain values, with `Inert` notes and what ``persistent`` returned among
            them.
        globals: what it would have imported, by module and name.
        opcodes: names of the instructions it is made of.
    """

    value: Any
    globals: dict[str, Use]
    opcodes: set[str]


def interpret(
    stream: Stream,
    source: str,
    *,
    constructors: Mapping[str, Constructor] = CONSTRUCTORS,
    persistent: Callable[[Any], Any] = lambda key: None,
) -> Unpickled:
    """Interpret one pickle up to its end; nothing is imported, called or looked up.

    Args:
        stream: stands behind the pickle afterwards.
        source: what to call it in errors.
        constructors: calls that are done, by module and name; each may raise a
            ``ValueError``.
        persistent: gives the value of a persistent id (a storage in a checkpoint);
            `None` leaves a note.

    Raises:
        CheckpointError: the pickle is damaged or absurdly large.
    """
    machine = _Machine(constructors, persistent)
    try:
        value = machine.run(stream)
    except (
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        AssertionError,
        MemoryError,
    ) as error:
        raise CheckpointError(
            f"{source} cannot be read: its pickle is damaged near byte {machine.position} "
            f"({str(error)[:200] or type(error).__name__}). Copy or download the file again."
        ) from error
    return Unpickled(value, machine.globals, machine.opcodes)


class _Machine:
    """The stack machine. A method ``_op_<name>`` an instruction, each with the
    instruction's own argument.
    """

    def __init__(
        self, constructors: Mapping[str, Constructor], persistent: Callable[[Any], Any]
    ) -> None:
        self.constructors, self.persistent = constructors, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}  # a dict, as the numbers come from the file
        self.globals: dict[str, Use] = {}
        self.opcodes: set[str] = set()
        self.position = 0
        self.steps = 0

    def run(self, stream: Stream) -> Any:
        """Carry out the instructions up to the end of the pickle; return its value."""
        for opcode, argument, position in pickletools.genops(stream):  # type: ignore[arg-type]
            self.position = position or 0
            self._spend(1)
            name = opcode.name
            self.opcodes.add(name)
            if name == "STOP":
                break
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            else:
                getattr(self, f"_op_{name.lower()}", self._unsupported)(argument)
        return self._pop()

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise ValueError(
                f"it takes more than {MOST_STEPS:,} instructions, which no checkpoint does"
            )

    def _unsupported(self, _: Any) -> None:
        raise ValueError("it needs buffers that are kept outside the file")

    # The stack, the marks and the memo.

    def _floor(self) -> int:
        return self.marks[-1] if self.marks else 0

    def _take(self, count: int) -> list[Any]:
        """Remove and return the last values, which must lie above the last mark."""
        if len(self.stack) - self._floor() < count:
            raise ValueError("an instruction takes more values than there are")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _pop(self) -> Any:
        return self._take(1)[0]

    def _top(self) -> Any:
        if len(self.stack) <= self._floor():
            raise ValueError("an instruction needs a value, and there is none")
        return self.stack[-1]

    def _since_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("an instruction needs a mark, and there is none")
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise ValueError(f"pickle protocol {version} is unknown")

    def _op_frame(self, _: Any) -> None:
        """Frames only tell how much to read at once."""

    def _op_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _op_pop(self, _: Any) -> None:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self._pop()

    def _op_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _op_dup(self, _: Any) -> None:
        self.stack.append(self._top())

    def _op_put(self, index: int) -> None:
        self.memo[index] = self._top()

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self._top()

    def _op_get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError("it takes a value from the memo that was never put there")
        self.stack.append(self.memo[index])

    _op_binget = _op_long_binget = _op_get

    # Containers.

    def _op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _op_tuple1(self, _: Any) -> None:
        self.stack.append(tuple(self._take(1)))

    def _op_tuple2(self, _: Any) -> None:
        self.stack.append(tuple(self._take(2)))

    def _op_tuple3(self, _: Any) -> None:
        self.stack.append(tuple(self._take(3)))

    def _op_list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _op_dict(self, _: Any) -> None:
        pairs = self._since_mark()
        self.stack.append({})
        self._set_items(pairs)

    def _op_frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(map(checked_key, self._since_mark())))

    def _op_append(self, _: Any) -> None:
        self._extend([self._pop()])

    def _op_appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        else:
            self._changed(target, "appends to").items.extend(values)

    def _op_additems(self, _: Any) -> None:
        values = self._since_mark()
        target = self._top()
        if isinstance(target, set):
            target.update(map(checked_key, values))
        else:
            self._changed(target, "adds to").items.extend(values)

    def _op_setitem(self, _: Any) -> None:
        self._set_items(self._take(2))

    def _op_setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise ValueError("a key has no value")
        target, pairs = self._top(), zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((checked_key(key), value) for key, value in pairs)
        else:
            self._changed(target, "sets items of").items.extend(pairs)

    # What would have been imported and called.

    def _name(self, name: str) -> Inert:
        self.globals.setdefault(name, Use()).named += 1
        return Inert(name)

    def _call(self, what: Any, args: Any, kwargs: Any) -> None:
        if (
            not isinstance(what, Inert)
            or not isinstance(args, tuple)
            or not isinstance(kwargs, dict)
        ):
            raise ValueError(
                f"it calls a {type(what).__name__} with a {type(args).__name__}"
            )
        name = what.name
        if what.called:  # the result of a call is called: getattr(os, "system")("...")
            name = name if name.startswith("what ") else f"what {name} returned"
        use = self.globals.setdefault(name, Use())
        use.called += 1
        constructor = (
            self.constructors.get(modern(name))
            if not kwargs and not what.called
            else None
        )
        built = None
        if constructor:
            self._spend(cost(args))
            built = constructor(args)
        if built is None:
            built = Inert(name, args, kwargs)
            if len(use.examples) < _MOST_EXAMPLES:
                use.examples.append(built)
        self.stack.append(built)

    def _changed(self, target: Any, does: str) -> Inert:
        """Return the note of what the pickle changes, which is a thing of its own
        making or a global itself.
        """
        if not isinstance(target, Inert):
            raise ValueError(f"it {does} a {type(target).__name__}")
        if not target.called:
            self.globals[target.name].changed += 1
        return target

    def _op_global(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        self.stack.append(self._name(f"{module}.{attribute}"))

    def _op_stack_global(self, _: Any) -> None:
        module, attribute = self._take(2)
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("the name of a global is no text")
        self.stack.append(self._name(f"{module}.{attribute}"))

    def _op_ext1(self, code: int) -> None:
        self.stack.append(self._name(f"copyreg.extension_{code}"))

    _op_ext2 = _op_ext4 = _op_ext1

    def _op_reduce(self, _: Any) -> None:
        what, args = self._take(2)
        self._call(what, args, {})

    _op_newobj = _op_reduce

    def _op_newobj_ex(self, _: Any) -> None:
        self._call(*self._take(3))

    def _op_obj(self, _: Any) -> None:
        values = self._since_mark()
        if not values:
            raise ValueError("it makes an object of no class")
        self._call(values[0], tuple(values[1:]), {})

    def _op_inst(self, name: str) -> None:
        values = self._since_mark()
        self._op_global(name)
        self._call(self._pop(), tuple(values), {})

    def _op_build(self, _: Any) -> None:
        state = self._pop()
        if not isinstance(
            self._top(), dict
        ):  # attributes of an OrderedDict, such as `_metadata`, have no place
            self._changed(self._top(), "sets attributes of").state = state

    def _op_persid(self, key: str) -> None:
        value = self.persistent(key)
        self.stack.append(Inert("persistent id", (key,)) if value is None else value)

    def _op_binpersid(self, _: Any) -> None:
        self._op_persid(self._pop())


def brief_globals(found: Mapping[str, Use], most: int = 5) -> str:
    """Return the first names of what a pickle would have imported."""
    told = ", ".join(brief(Inert(name)) for name in list(found)[:most])
    return told + (f" and {len(found) - most} more" if len(found) > most else "")
