"""The rules of the house, checked on the source itself: floors, cycles, budgets,
documentation, mirror tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ecgnb

PACKAGE = Path(ecgnb.__file__).parent
ROOT = PACKAGE.parent

#: From the ground up. A module may import from its own room and from what stands before
#: it, never the other way.
FLOORS = [
    "core",
    "hub",
    "transforms",
    "data",
    "evaluation",
    "figures",
    "checkpoints",
    "models",
    "explain",
    "port",
    "foundation",
    "objectives",
    "training",
    "deploy",
    "run",
    "stages",
    "cli",
    "__main__",
]

MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of ecgnb that a file imports anywhere, type checking excepted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    known = {name_of(each) for each in MODULES}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecgnb"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name for alias in node.names if alias.name.startswith("ecgnb.")
            }
    return found - {"ecgnb"}


def room_of(module: str) -> str:
    return module.split(".")[1]


def functions() -> list[tuple[str, ast.FunctionDef]]:
    return [
        (f"{name_of(path)}.{node.name}", node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def length_of(function: ast.FunctionDef) -> int:
    body = function.body
    first = body[1] if ast.get_docstring(function) and len(body) > 1 else body[0]
    return (function.end_lineno or 0) - first.lineno + 2


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    room = room_of(name_of(path))
    assert room in FLOORS, f"{room} has no floor: add it to FLOORS"
    upward = {
        other
        for other in imports_of(path)
        if FLOORS.index(room_of(other)) > FLOORS.index(room)
    }
    assert not upward


def test_no_import_cycles() -> None:
    graph = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "sneaky.py"
    file.write_text(
        "def f():\n    from ecgnb.cli.main import main\n    return main\n",
        encoding="utf-8",
    )
    assert imports_of(file) == {"ecgnb.cli.main"}


def test_files_and_functions_stay_short() -> None:
    long_files = {
        name_of(p): n
        for p in MODULES
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long_files
    lengths = sorted(length_of(function) for _, function in functions())
    assert lengths[len(lengths) // 2] <= 10, (
        "the median function should stay under ten lines"
    )
    assert lengths[int(len(lengths) * 0.9)] <= 35, (
        "nine of ten functions should stay under 35 lines"
    )
    assert not {name for name, function in functions() if length_of(function) > 80}


def test_every_public_function_and_class_is_documented() -> None:
    bare = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} says nothing about itself"
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                public = [
                    n
                    for n in node.body
                    if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
                ]
                inherits = bool(node.bases)
                undocumented = [
                    n.name for n in public if not ast.get_docstring(n) and not inherits
                ]
                bare += [f"{name_of(path)}.{node.name}.{name}" for name in undocumented]
                if not node.name.startswith("_") and not ast.get_docstring(node):
                    bare.append(f"{name_of(path)}.{node.name}")
        bare += [
            f"{name_of(path)}.{node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not bare


def test_the_tests_mirror_the_package() -> None:
    """A test file is named after a module or a room of the package, or is one of the
    house's own."""
    own = {"test_house", "test_notebooks", "test_bad_input", "test_benchmarks"}
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    tests = [
        path for path in (ROOT / "tests").rglob("test_*.py") if path.stem not in own
    ]
    strange = [
        path.relative_to(ROOT).as_posix()
        for path in tests
        if not any(
            path.stem.removeprefix("test_").startswith(name.strip("_"))
            for name in names
            if name.strip("_")
        )
    ]
    assert not strange


def test_leftovers_and_foreign_code() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), path
        assert "allow_pickle=True" not in text and "weights_only=False" not in text, (
            path
        )
        assert not re.search(
            r"^\s*(import|from)\s+(pickle|tensorflow|fairseq|hydra|omegaconf)\b",
            text,
            re.M,
        ), path
