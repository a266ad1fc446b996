"""What loading a checkpoint the ordinary way would have done with each thing its pickle names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ecgnb.checkpoints.constructors import CONSTRUCTORS, modern
from ecgnb.checkpoints.inert import Inert, brief
from ecgnb.checkpoints.opcodes import Use
from ecgnb.checkpoints.tensor_refs import DTYPES, STORAGES, UNTYPED_STORAGE

#: Names are compared whole: ``torch._utils._rebuild_tensor_v2.__globals__`` would be another matter.
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
    f"builtins.{name}" for name in ("int", "long", "float", "str", "unicode", "bool", "object", "slice", "range")
)
#: What NumPy arrays are pickled with.
ARRAYS = frozenset(
    f"numpy{module}.{name}"
    for module, names in {"": ("ndarray", "dtype"), ".core.multiarray": ("_reconstruct", "scalar"),
                          "._core.multiarray": ("_reconstruct", "scalar")}.items()
    for name in names
)  # fmt: skip
_CONFIGURATION = re.compile(
    r"argparse\.Namespace|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|nodes\.[A-Za-z]+Node"
    r"|base\.(Container)?Metadata)"
)
#: Modules whose functions run commands or other programs, or fetch and write files; `builtins` beyond its plain types.
#: The list makes the warning louder. What is not in it is not harmless.
_DANGEROUS = frozenset((
    "os", "posix", "nt", "sys", "subprocess", "builtins", "runpy", "pty", "socket", "shutil", "importlib", "imp",
    "ctypes", "code", "codeop", "pdb", "bdb", "webbrowser", "platform", "pickle", "_pickle", "marshal", "operator",
    "multiprocessing", "asyncio", "urllib", "http", "requests", "ftplib", "timeit", "cProfile", "profile", "trace",
    "pip", "commands", "signal", "what",
))  # fmt: skip

#: What ``torch.load(weights_only=True)`` builds beside tensors, and the instructions it knows (PyTorch 2.6 to 2.13).
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
        foreign: whether code outside PyTorch, NumPy and plain Python would have been imported.
        runs: the calls that would have run such code, with their arguments; empty where none would.
        dangerous: whether these are what an attack is made of.
    """

    text: str
    foreign: bool = False
    runs: tuple[str, ...] = ()
    dangerous: bool = False


def effect_of(name: str, use: Use) -> Effect:
    """Return what ``torch.load(weights_only=False)`` would have done with a global."""
    known = modern(name)
    if known in _TENSOR_NAMES:
        return Effect("builds tensors")
    if known in CONSTRUCTORS or known in _PLAIN_TYPES:
        return Effect("plain value" if known in _PLAIN_TYPES or known == "_codecs.encode" else "plain container")
    if known in ARRAYS:
        return Effect("builds NumPy arrays")
    module, shown = known.rpartition(".")[0], brief(Inert(known))
    if _CONFIGURATION.fullmatch(known):
        return Effect(f"imports {module} and builds a configuration", foreign=True)
    if not use.called:
        return Effect(f"imports {brief(Inert(module))}", foreign=True)
    runs = tuple(_told(call) for call in use.examples) or (shown,)
    imports = f"imports {brief(Inert(module))} and calls " if " " not in known else "calls "
    more = f" and {use.called - len(runs)} more" if use.called > len(runs) else ""
    dangerous = known.partition(".")[0].partition(" ")[0] in _DANGEROUS
    return Effect(imports + "; ".join(runs) + more, foreign=True, runs=runs, dangerous=dangerous)


def _told(call: Inert) -> str:
    return brief(call) if call.called else f"{brief(call)} (which is changed)"


def refused_by_weights_only(found: Mapping[str, Use], opcodes: Collection[str]) -> list[str]:
    """Return what ``torch.load(weights_only=True)`` would refuse in a pickle; empty where it accepts the file."""
    names = [name for name in found if modern(name) not in _TENSOR_NAMES | _ACCEPTED]
    return [brief(Inert(name)) for name in names] + [
        f"the instruction {name}" for name in sorted(set(opcodes) - _KNOWN_OPCODES)
    ]
