"""Safe pickle interpreter: builds plain values, imports and calls nothing.

A pickle is a program for a stack machine; three of its instructions import and call
functions, which is how a checkpoint can run commands on the machine that loads it. Here
`pickletools`, which only parses, yields the instructions, and those that build plain
values are carried out. An object that would be imported or called becomes an `Inert`
note. Instructions, protocols 0 to 5:
https://github.com/python/cpython/blob/main/Lib/pickletools.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from typing import Any

from ecgnb.checkpoints.constructors import (
    CONSTRUCTORS,
    Constructor,
    checked_key,
    construction_steps,
    python3_name,
)
from ecgnb.checkpoints.inert import Inert
from ecgnb.core.errors import CheckpointError

#: Instructions of one pickle, including what constructors build. Published checkpoints
#: have some 30,000; the limit keeps a small file from filling the memory (4 million
#: empty sets take 0.9 GB).
MAX_STEPS = 4_000_000

_MAX_EXAMPLES = 3  # calls kept for each global

#: Instructions whose argument is the value.
_LITERALS = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING
    SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES
    SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
_LITERAL_NAMES = frozenset(_LITERALS.split())
_NEW_VALUES: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
#: Errors that a damaged pickle causes in the interpreter.
_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
)


@dataclass(slots=True)
class Use:
    """How a pickle uses one global.

    Attributes:
        named: how often the pickle names it.
        called: how often it calls it.
        changed: how often it changes the object itself: an attribute of a class, an
            item of ``sys.modules``.
        examples: the first calls that are not built here.
    """

    named: int = 0
    called: int = 0
    changed: int = 0
    examples: list[Inert] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Unpickled:
    """Contents of a pickle.

    Attributes:
        value: plain values, with `Inert` notes and the values of ``persistent`` in it.
        globals: what it would have imported, by module and name.
        opcodes: names of the instructions in it.
    """

    value: Any
    globals: dict[str, Use]
    opcodes: set[str]


def interpret(
    stream: BytesIO | mmap,
    source: str,
    *,
    constructors: Mapping[str, Constructor] = CONSTRUCTORS,
    persistent: Callable[[Any], Any] = lambda key: None,
) -> Unpickled:
    """Interpret one pickle up to its end; nothing is imported, called or looked up.

    Args:
        stream: positioned behind the pickle afterwards.
        source: name of the pickle in errors.
        constructors: calls that are carried out, by module and name; each may raise a
            ``ValueError``.
        persistent: returns the value of a persistent id (a storage in a checkpoint);
            `None` leaves a note.

    Raises:
        CheckpointError: the pickle is damaged or absurdly large.
    """
    machine = _Machine(constructors, persistent)
    try:
        value = machine.run(stream)
    except _DAMAGE as error:
        reason = str(error)[:200] or type(error).__name__
        raise CheckpointError(
            f"{source} cannot be read: its pickle is damaged near byte "
            f"{machine.position} ({reason}). Copy or download the file again."
        ) from error
    return Unpickled(value, machine.globals, machine.opcodes)


class _Machine:
    """The stack machine: one method ``_op_<name>`` per instruction."""

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

    def run(self, stream: BytesIO | mmap) -> Any:
        """Carry out the instructions of one pickle and return its value."""
        for opcode, argument, position in pickletools.genops(stream):  # type: ignore[arg-type]
            self.position = position or 0  # for the message about damage
            self._spend(1)
            name = opcode.name
            self.opcodes.add(name)
            if name == "STOP":
                break
            if name in _LITERAL_NAMES:
                self.stack.append(argument)
            elif name in _NEW_VALUES:
                self.stack.append(_NEW_VALUES[name]())
            else:
                getattr(self, f"_op_{name.lower()}", self._unsupported)(argument)
        return self._pop()

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError(
                f"it takes more than {MAX_STEPS:,} instructions, which no checkpoint "
                "does"
            )

    def _unsupported(self, _: Any) -> None:
        raise ValueError("it needs buffers outside the file")

    # Stack, marks and memo

    def _n_available(self) -> int:
        """Return the number of values above the last mark."""
        return len(self.stack) - (self.marks[-1] if self.marks else 0)

    def _take(self, count: int) -> list[Any]:
        """Remove and return the last values."""
        if self._n_available() < count:
            raise ValueError("an instruction takes more values than there are")
        taken = self.stack[-count:]  # count is 1 or more
        del self.stack[-count:]
        return taken

    def _pop(self) -> Any:
        return self._take(1)[0]

    def _top(self) -> Any:
        if not self._n_available():
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
        if version > 5:  # of Python 3.8
            raise ValueError(f"pickle protocol {version} is unknown")

    def _op_frame(self, _: Any) -> None:
        """A frame is only the number of bytes to read at once."""

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

    # Containers

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
            target.update(map(checked_key, values))  # hashing may be hostile
        else:
            self._changed(target, "adds to").items.extend(values)

    def _op_setitem(self, _: Any) -> None:
        self._set_items(self._take(2))

    def _op_setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise ValueError("a key has no value")
        target = self._top()
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update((checked_key(key), value) for key, value in pairs)
        else:
            self._changed(target, "sets items of").items.extend(pairs)

    # Imports and calls, none of which happens

    def _push_global(self, name: str) -> None:
        self.globals.setdefault(name, Use()).named += 1
        self.stack.append(Inert(name))

    def _call(self, function: Any, args: Any, kwargs: Any) -> None:
        has_arguments = isinstance(args, tuple) and isinstance(kwargs, dict)
        if not isinstance(function, Inert) or not has_arguments:
            raise ValueError(
                f"it calls a {type(function).__name__} with a {type(args).__name__}"
            )
        name = function.name
        # The result of a call may be called: getattr(os, "system")("...")
        if function.called and not name.startswith("result of "):
            name = f"result of {name}"
        use = self.globals.setdefault(name, Use())
        use.called += 1
        constructor = self.constructors.get(python3_name(name))
        value = None
        if constructor and not kwargs and not function.called:
            self._spend(construction_steps(args))  # before it is built
            value = constructor(args)  # None: not what it takes
        if value is None:
            value = Inert(name, args, kwargs)
            if len(use.examples) < _MAX_EXAMPLES:
                use.examples.append(value)  # for the report
        self.stack.append(value)

    def _changed(self, target: Any, action: str) -> Inert:
        """Return the note of an object that the pickle changes, and count globals."""
        if not isinstance(target, Inert):
            raise ValueError(f"it {action} a {type(target).__name__}")
        if not target.called:
            self.globals[target.name].changed += 1
        return target

    def _op_global(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        self._push_global(f"{module}.{attribute}")

    def _op_stack_global(self, _: Any) -> None:
        module, attribute = self._take(2)
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("the name of a global is no text")
        self._push_global(f"{module}.{attribute}")

    def _op_ext1(self, code: int) -> None:
        self._push_global(f"copyreg.extension_{code}")  # the registry is not looked up

    _op_ext2 = _op_ext4 = _op_ext1

    def _op_reduce(self, _: Any) -> None:
        function, args = self._take(2)
        self._call(function, args, {})

    _op_newobj = _op_reduce  # cls.__new__(cls, *args) is a call, too

    def _op_newobj_ex(self, _: Any) -> None:
        self._call(*self._take(3))

    def _op_obj(self, _: Any) -> None:
        values = self._since_mark()
        if not values:
            raise ValueError("it creates an object of no class")
        self._call(values[0], tuple(values[1:]), {})

    def _op_inst(self, name: str) -> None:
        values = self._since_mark()
        self._op_global(name)
        self._call(self._pop(), tuple(values), {})

    def _op_build(self, _: Any) -> None:
        state = self._pop()
        # A dict was an OrderedDict; its attributes, such as `_metadata`, are dropped.
        if not isinstance(self._top(), dict):
            self._changed(self._top(), "sets attributes of").state = state

    def _op_persid(self, key: str) -> None:
        value = self.persistent(key)
        self.stack.append(Inert("persistent id", (key,)) if value is None else value)

    def _op_binpersid(self, _: Any) -> None:
        self._op_persid(self._pop())
