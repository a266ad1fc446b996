"""What loading a checkpoint the ordinary way would have done with each thing its pickle
names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ecgnb.checkpoints.constructors import CONSTRUCTORS, Inert, brief, modern
from ecgnb.checkpoints.opcodes import Use
from ecgnb.checkpoints.tensor_refs import DTYPES, STORAGES, UNTYPED_STORAGE

#: Names are compared whole: ``torch._utils._rebuild_tensor_v2.__globals__`` would be
#: another matter.
_TENSOR_NAMES = frozenset((
    *(f"torch._utils._rebuild_{name}" for name in (
        "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor", "sparse_tensor",
        "meta_tensor_no_storage", "nested_tensor", "wrapper_subclass", "device_tensor_from_numpy",
        "device_tensor_from_cpu_tensor",
    )),
    "torch._tensor._rebuild_from_type_v2", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.Size", "torch.device",
    "torch.serialization._get_layout", UNTYPED_STORAGE, "torch.storage.TypedStorage", *STORAGES, *DTYPES,
    *(f"torch.{name}Storage" for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")),
    *(f"torch.per_{name}" for name in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric",
                                       "channel_affine_float_qparams")),
))  # fmt: skip
_PLAIN_TYPES = frozenset(
    f"builtins.{name}"
    for name in (
        "int",
        "long",
        "float",
        "str",
        "unicode",
        "bool",
        "object",
        "slice",
        "range",
    )
)
#: What NumPy arrays are pickled with.
ARRAYS = frozenset(
    f"numpy{module}.{name}"
    for module, names in {"": ("ndarray", "dtype"), ".core.multiarray": ("_reconstruct", "scalar"),
                          "._core.multiarray": ("_reconstruct", "scalar")}.items()
    for name in names
)  # fmt: skip
_CONFIGURATION = re.compile(
    r"argparse\.Namespace|typing\.[A-Za-z]+|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|nodes\.[A-Za-z]+Node"
    r"|base\.(Container)?Metadata)"
)
#: Modules whose functions run commands or other programs, or fetch and write files;
#: `builtins` beyond its plain types. The list makes the warning louder. What is not in
#: it is not harmless.
_DANGEROUS = frozenset((
    "os", "posix", "nt", "sys", "subprocess", "builtins", "runpy", "pty", "socket", "shutil", "importlib", "imp",
    "ctypes", "code", "codeop", "pdb", "bdb", "webbrowser", "platform", "pickle", "_pickle", "marshal", "operator",
    "multiprocessing", "asyncio", "urllib", "http", "requests", "ftplib", "timeit", "cProfile", "profile", "trace",
    "pip", "commands", "signal", "what",
))  # fmt: skip

#: What ``torch.load(weights_only=True)`` builds beside tensors, and the instructions it
#: knows (PyTorch 2.6 to 2.13).
_ACCEPTED = frozenset((
    "collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.bytearray", "builtins.set",
    "builtins.complex",
))  # fmt: skip
_KNOWN_OPCODES = frozenset((
    "GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "MARK", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "BININT",
    "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINPERSID", "BINGET", "LONG_BINGET", "BINPUT",
    "LONG_BINPUT", "LONG1", "PROTO", "STOP",
))  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What a global would have done.

    Attributes:
        text: in words.
        foreign: whether code outside PyTorch, NumPy and plain Python would have been
            imported.
        runs: what of it would have run, calls with their arguments; empty where it only
            holds values.
        dangerous: whether that is what attacks are made of.
    """

    text: str
    foreign: bool = False
    runs: tuple[str, ...] = ()
    dangerous: bool = False


def effect_of(name: str, use: Use) -> Effect:
    """Return what an ordinary `torch.load`, which unpickles, would have done with a
    global.
    """
    known = modern(name)
    module, shown = brief(Inert(name.rpartition(".")[0])), brief(Inert(name))
    if use.changed:
        return Effect(
            f"changes {shown} itself", True, (f"a change of {shown} itself",), True
        )
    if known in _TENSOR_NAMES:
        return Effect("builds tensors")
    if known in CONSTRUCTORS or known in _PLAIN_TYPES:
        return Effect(
            "plain value"
            if known in _PLAIN_TYPES or known == "_codecs.encode"
            else "plain container"
        )
    if known in ARRAYS:
        return Effect("builds NumPy arrays")
    if _CONFIGURATION.fullmatch(known):
        return Effect(
            f"imports {module}" + " and builds a configuration" * bool(use.called),
            foreign=True,
        )
    dangerous = known.partition(".")[0].partition(" ")[0] in _DANGEROUS
    if not use.called:  # another call may get it as an argument, and call it
        return Effect(
            f"imports {module} and hands over {shown}",
            True,
            (f"the import of {shown}",),
            dangerous,
        )
    calls = tuple(map(brief, use.examples))
    more = f" and {use.called - len(calls)} more" if use.called > len(calls) else ""
    imports = f"imports {module} and calls " if use.named else "calls "
    return Effect(imports + "; ".join(calls) + more, True, calls, dangerous)


def refused_by_weights_only(
    found: Mapping[str, Use], opcodes: Collection[str]
) -> list[str]:
    """Return what ``torch.load(weights_only=True)`` would refuse in a pickle; empty
    where it accepts the file.
    """
    names = [name for name in found if modern(name) not in _TENSOR_NAMES | _ACCEPTED]
    changed = [name for name, use in found.items() if use.changed and name not in names]
    return [
        *(brief(Inert(name)) for name in names),
        *(f"a change of {brief(Inert(name))}" for name in changed),
        *(f"the instruction {name}" for name in sorted(set(opcodes) - _KNOWN_OPCODES)),
    ]
