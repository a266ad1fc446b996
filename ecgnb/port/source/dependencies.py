"""Definitions and imports that an exported model needs besides its class."""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ecgnb.core.errors import PortError

_PACKAGE = __name__.split(".")[0]
#: Modules that an exported file imports by a short name, searched in this order.
_LIBRARIES: tuple[tuple[ModuleType, str, str], ...] = (
    (nn, "nn", "from torch import nn"),
    (torch, "torch", "import torch"),
    (F, "F", "import torch.nn.functional as F"),
    (operator, "operator", "import operator"),
)

#: Top-level statement of a module that binds a name, and its source text.
Definition = tuple[ast.stmt, str]


class Dependencies:
    """The definitions and imports of an exported file, collected while it is written.

    Attributes:
        sources: source text of each definition by its name, after the definitions that
            it uses.
    """

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self._modules: dict[str, str] = {}  # that define the names in `sources`
        self._imports: dict[str, set[str]] = {}  # "from x": names, "import x": none

    def name(self, thing: Any) -> str:
        """Return a class's or function's name in the exported file, and add what that
        needs.

        Raises:
            PortError: it is defined neither by PyTorch nor by this package.
        """
        name = getattr(thing, "__name__", "")
        for library, prefix, statement in _LIBRARIES:
            if name and getattr(library, name, None) is thing:
                self.add_import(statement)
                return f"{prefix}.{name}"
        module = getattr(thing, "__module__", None) or ""
        if module.split(".")[0] != _PACKAGE or name not in _definitions(module):
            raise PortError(
                f"{thing!r} cannot be written as source code: it is neither of PyTorch "
                f"nor of {_PACKAGE}."
            )
        self.add(module, name)
        return name

    def add(self, module: str, name: str) -> None:
        """Add a definition of this package and everything that it uses."""
        statement, text = _definitions(module)[name]
        # An import of this package is followed to the definition itself.
        if isinstance(statement, ast.Import | ast.ImportFrom):
            source = str(getattr(statement, "module", ""))
            if source.split(".")[0] == _PACKAGE:
                self.add(source, name)
            else:
                self.add_import(text)
            return
        if name in self._modules:  # added already, or now being added
            if self._modules[name] != module:
                raise PortError(
                    f"{self._modules[name]} and {module} both define {name}; one file "
                    "cannot contain both."
                )
            return
        self._modules[name] = module
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in _definitions(module):
                self.add(module, node.id)
        # Linter marks and relevance rules have a meaning only in this package.
        text = re.sub(r"  # noqa: \w+", "", text)
        text = re.sub(r'\n    relevance = "\w+"\n(?=\n)', "", text)
        self.sources[name] = text  # after what it uses

    def add_import(self, statement: str) -> None:
        """Add ``import x``, ``import x as y`` or ``from x import y``.

        Raises:
            PortError: it is of another package than PyTorch.
        """
        source, _, name = statement.partition(" import ")
        root = re.split("[ .]", source)[1]
        if root != "torch" and root not in sys.stdlib_module_names:
            raise PortError(
                f"An exported model would need {root} ({statement}); it may import "
                "PyTorch only."
            )
        names = self._imports.setdefault(source, set())
        if name:
            names.add(name)

    def import_lines(self) -> str:
        """Return the imports as text: the standard library first, then PyTorch."""
        torch_lines, other_lines = [], []
        # "import x" before "from x import y", as ruff sorts them
        for source in sorted(self._imports, key=lambda x: (x.startswith("from"), x)):
            names = ", ".join(sorted(self._imports[source]))
            line = f"{source} import {names}" if names else source
            if line.split()[1].startswith("torch"):
                torch_lines.append(line)
            else:
                other_lines.append(line)
        # Every file imports pathlib and torch, so that neither block is empty.
        return "\n".join([*other_lines, "", *torch_lines])


@cache
def _definitions(module: str) -> dict[str, Definition]:
    """Return the statement that binds each top-level name of a module; for an imported
    name an import of that name alone.
    """
    text = inspect.getsource(importlib.import_module(module))
    definitions = {}
    for statement in ast.parse(text).body:
        source = ast.get_source_segment(text, statement) or ""
        for name, definition in _bound_names(statement, source):
            definitions[name] = (statement, definition)
    return definitions


def _bound_names(statement: ast.stmt, text: str) -> Iterator[tuple[str, str]]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name, text
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        module = getattr(statement, "module", None)
        start = f"from {module} import" if module else "import"
        for alias in statement.names:
            name = alias.asname or alias.name
            yield name, f"{start} {ast.unparse(alias)}"
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        else:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, text
