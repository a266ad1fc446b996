"""Effects of the globals in a pickle: what `torch.load` would import and run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ecgnb.checkpoints.constructors import CONSTRUCTORS, python3_name
from ecgnb.checkpoints.inert import brief, brief_name
from ecgnb.checkpoints.opcodes import Use
from ecgnb.checkpoints.tensor_refs import DTYPES, STORAGES

#: Names of one table, separated by white space.
_REBUILD_FUNCTIONS = """
    tensor tensor_v2 tensor_v3 parameter parameter_with_state qtensor sparse_tensor
    meta_tensor_no_storage nested_tensor wrapper_subclass device_tensor_from_numpy
    device_tensor_from_cpu_tensor
"""
_TENSOR_TYPES = """
    QInt8Storage QUInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage
    per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric
    per_channel_affine_float_qparams storage.TypedStorage _tensor._rebuild_from_type_v2
    Tensor Size device nn.parameter.Parameter serialization._get_layout
"""
#: Compared as a whole: ``torch._utils._rebuild_tensor_v2.__globals__`` is not harmless.
_TENSOR_NAMES = {*STORAGES, *DTYPES}
_REBUILD = "torch._utils._rebuild_"
_TENSOR_NAMES |= {_REBUILD + name for name in _REBUILD_FUNCTIONS.split()}
_TENSOR_NAMES |= {f"torch.{name}" for name in _TENSOR_TYPES.split()}
_PLAIN_TYPES = """
    builtins.int builtins.long builtins.float builtins.str builtins.unicode
    builtins.bool builtins.object builtins.slice builtins.range _codecs.encode
"""
#: Globals in pickles of NumPy arrays.
ARRAYS = frozenset((
    "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
))  # fmt: skip
_CONFIGURATION = re.compile(
    r"argparse\.Namespace|typing\.[A-Za-z]+"
    r"|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|nodes\.[A-Za-z]+Node"
    r"|base\.(Container)?Metadata)"
)
#: Modules whose functions run commands or other programs, or fetch and write files;
#: `builtins` beyond its plain types; a "result of" another call.
#: The list makes the warning louder. A module outside it is not harmless.
_DANGEROUS = """
    os posix nt sys subprocess builtins runpy pty socket shutil importlib imp ctypes
    code codeop pdb bdb webbrowser platform pickle _pickle marshal operator
    multiprocessing asyncio urllib http requests ftplib timeit cProfile profile trace
    pip commands signal result
"""

#: What ``torch.load(weights_only=True)`` builds beside tensors, and the instructions it
#: knows (PyTorch 2.6 to 2.13).
_ACCEPTED = frozenset((
    "collections.OrderedDict", "collections.Counter", "_codecs.encode",
    "builtins.bytearray", "builtins.set", "builtins.complex",
))  # fmt: skip
_KNOWN_OPCODES = """
    GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2
    TUPLE3 NONE NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BININT
    BININT1 BININT2 BINFLOAT BINUNICODE SHORT_BINSTRING BINPERSID BINGET LONG_BINGET
    BINPUT LONG_BINPUT LONG1 PROTO STOP
"""


@dataclass(frozen=True)
class Effect:
    """Effect that a global would have had.

    Attributes:
        text: in words.
        foreign: whether code outside PyTorch, NumPy and plain Python would have been
            imported.
        runs: what would have run, calls with their arguments; empty for mere values.
        dangerous: whether attacks are made of it.
    """

    text: str
    foreign: bool = False
    runs: tuple[str, ...] = ()
    dangerous: bool = False


def effect_of(name: str, use: Use) -> Effect:
    """Return what an ordinary `torch.load`, which unpickles, would do with a global."""
    known = python3_name(name)
    module, shown = brief_name(name.rpartition(".")[0]), brief_name(name)
    if use.changed:
        change = f"a change of {shown} itself"
        return Effect(f"changes {shown} itself", True, (change,), True)
    if known in _TENSOR_NAMES:
        return Effect("builds tensors")
    if known in _PLAIN_TYPES.split():
        return Effect("plain value")
    if known in CONSTRUCTORS:
        return Effect("plain container")
    if known in ARRAYS:
        return Effect("builds NumPy arrays")
    if _CONFIGURATION.fullmatch(known):
        # omegaconf's own classes
        builds = " and builds a configuration" if use.called else ""
        return Effect(f"imports {module}{builds}", foreign=True)
    dangerous = re.split("[. ]", known)[0] in _DANGEROUS.split()
    if not use.called:  # it may be an argument of another call, which calls it
        text = f"imports {module} and passes {shown} on"
        return Effect(text, True, (f"the import of {shown}",), dangerous)
    calls = tuple(map(brief, use.examples))
    text = f"calls {'; '.join(calls)}"
    if use.named:
        text = f"imports {module} and {text}"
    n_more = use.called - len(calls)
    if n_more > 0:
        text += f" and {n_more} more"
    return Effect(text, True, calls, dangerous)


def refused_by_weights_only(
    uses: Mapping[str, Use], opcodes: Collection[str]
) -> list[str]:
    """Return what ``torch.load(weights_only=True)`` would refuse in a pickle."""
    refused, changed = [], []
    for name, use in uses.items():
        if python3_name(name) not in _TENSOR_NAMES | _ACCEPTED:
            refused.append(brief_name(name))
        elif use.changed:
            changed.append(f"a change of {brief_name(name)}")
    unknown = sorted(set(opcodes) - set(_KNOWN_OPCODES.split()))
    # in this order
    return refused + changed + [f"the instruction {name}" for name in unknown]
