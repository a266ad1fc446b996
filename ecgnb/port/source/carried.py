"""What an exported model carries with it: the source of modules and functions that
PyTorch has not, and its imports.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ecgnb.core.errors import PortError

_PACKAGE = __name__.split(".")[0]
#: Where PyTorch's own are looked for, in this order, and how an exported file calls
#: them.
_HOMES = ((nn, "nn", "from torch import nn"), (torch, "torch", "import torch"),
          (F, "F", "import torch.nn.functional as F"), (operator, "operator", "import operator"))  # fmt: skip

#: A name at the top of a module: the statement that binds it and its text.
Definition = tuple[ast.stmt, str]


class Carried:
    """The definitions and imports that an exported file needs, collected while it is
    written.

    Attributes:
        sources: text of each definition by its name; what another needs stands before
            it.
    """

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self._imports: dict[str, set[str]] = {}
        self._plain: set[str] = set()
        self._homes: dict[str, str] = {}

    def name(self, thing: Any) -> str:
        """Return how an exported file calls a class or function, and carry what that
        takes.

        Raises:
            PortError: it is neither of PyTorch nor of this package.
        """
        own = getattr(thing, "__name__", "")
        for home, prefix, line in _HOMES:
            if own and getattr(home, own, None) is thing:
                self.add_import(line)
                return f"{prefix}.{own}"
        module = getattr(thing, "__module__", None) or ""
        if module.split(".")[0] != _PACKAGE or own not in _definitions(module):
            raise PortError(
                f"{thing!r} cannot be written as source code: it is neither of PyTorch nor of {_PACKAGE}."
            )
        self.carry(module, own)
        return own

    def carry(self, module: str, name: str) -> None:
        """Carry a definition of this package and all that it uses."""
        if name in self.sources:
            if self._homes[name] != module:
                raise PortError(
                    f"{self._homes[name]} and {module} both define {name}; one file cannot carry both."
                )
            return
        statement, text = _definitions(module)[name]
        self.sources[name], self._homes[name] = "", module
        for used in _names(statement):
            if used in _definitions(module):
                self._carry_name(module, used)
        self.sources[name] = self.sources.pop(name) + _cleaned(
            text
        )  # now after what it needs

    def _carry_name(self, module: str, name: str) -> None:
        statement, text = _definitions(module)[name]
        if (
            isinstance(statement, ast.ImportFrom)
            and str(statement.module).split(".")[0] == _PACKAGE
        ):
            self.carry(str(statement.module), name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            self.add_import(text)
        else:
            self.carry(module, name)

    def add_import(self, line: str) -> None:
        """Note an import: ``import x``, ``import x as y`` or ``from x import y``.

        Raises:
            PortError: it is of another package than PyTorch.
        """
        module, _, name = (
            line.removeprefix("from ").removeprefix("import ").partition(" import ")
        )
        root = module.split(".")[0].split(" ")[0]
        if root != "torch" and root not in sys.stdlib_module_names:
            raise PortError(
                f"An exported model would need {root} ({line}); it may import PyTorch only."
            )
        self._imports.setdefault(module, set()).update({name} - {""})
        if not name:
            self._plain.add(f"import {module}")

    def import_lines(self) -> str:
        """Return the imports as text: the standard library first, then PyTorch."""
        named = [
            f"from {module} import {', '.join(sorted(names))}"
            for module, names in self._imports.items()
            if names
        ]
        lines = [*sorted(self._plain), *sorted(named)]
        blocks = (
            [line for line in lines if line.split()[1].startswith("torch") == own]
            for own in (False, True)
        )
        return "\n\n".join("\n".join(block) for block in blocks if block)


@cache
def _definitions(module: str) -> dict[str, Definition]:
    """Return what each name at the top of a module is bound by; a name of an import has
    that import alone.
    """
    text = inspect.getsource(importlib.import_module(module))
    return {
        name: (statement, source)
        for statement in ast.parse(text).body
        for name, source in _bound(
            statement, ast.get_source_segment(text, statement) or ""
        )
    }


def _bound(statement: ast.stmt, text: str) -> Iterator[tuple[str, str]]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        start = (
            f"from {statement.module} import"
            if isinstance(statement, ast.ImportFrom)
            else "import"
        )
        for alias in statement.names:
            yield alias.asname or alias.name, f"{start} {ast.unparse(alias)}"
    elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name, text
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = (
            statement.targets
            if isinstance(statement, ast.Assign)
            else [statement.target]
        )
        yield from (
            (target.id, text) for target in targets if isinstance(target, ast.Name)
        )


def _names(statement: ast.stmt) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def _cleaned(text: str) -> str:
    """Leave out what only this package understands: marks for its linter, and how
    relevance passes through.
    """
    text = re.sub(r"  # noqa: \w+", "", text)
    return re.sub(r'\n    relevance = "\w+"\n(?=\n)', "", text)
