"""Rules of the source: layers, cycles, names, lengths, documentation, mirrored tests.

Each test collects every offender before it fails, so that one run shows all of them.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import ecgnb

PACKAGE = Path(ecgnb.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}

#: Layers from the bottom up: a module imports from its own layer and from those below.
LAYERS = (
    "core",
    "checkpoints",
    "hub",
    "data",
    "transforms",
    "evaluation",
    "figures",
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
)

#: Base names that more than one package may use.
SHARED_BASE_NAMES = {"__init__", "base", "config"}

#: Names that say how the code came by a thing, not what the thing is.
PRIVATE_VOCABULARY = {
    "each",
    "found",
    "given",
    "mine",
    "ours",
    "place",
    "said",
    "strangers",
    "told",
}

#: Test files that belong to no single module.
OTHER_TESTS = {
    "test_bad_input",
    "test_benchmarks",
    "test_extension_points",
    "test_style",
}

MOST_LINES_OF_A_FILE = 450
MOST_LINES_OF_A_FUNCTION = 80


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


NAMES = {module_name(path) for path in MODULES}


def layer(module: str) -> str:
    return module.split(".")[1]


def type_checking_nodes(tree: ast.Module) -> set[ast.AST]:
    """Return all nodes below ``if TYPE_CHECKING:``."""
    nodes: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            nodes.update(ast.walk(node))
    return nodes


def imported_modules(tree: ast.Module) -> set[str]:
    """Return the modules of ecgnb that a file imports anywhere, type checking aside."""
    skipped = type_checking_nodes(tree)
    modules = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                modules.add(full_name if full_name in NAMES else node.module)
    return {module for module in modules if module.startswith("ecgnb.")}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    """Return all functions of the package with their full names."""
    return [
        (f"{module_name(path)}.{node.name}", node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]


def body_length(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its docstring, the ``def`` included."""
    first = function.body[0]
    if ast.get_docstring(function) and len(function.body) > 1:
        first = function.body[1]
    return (function.end_lineno or 0) - first.lineno + 2


def test_imports_point_down() -> None:
    upward = []
    for path, tree in TREES.items():
        name = module_name(path)
        for other in imported_modules(tree):
            if LAYERS.index(layer(other)) > LAYERS.index(layer(name)):
                upward.append(f"{name} imports {other}")
    assert not upward


def test_an_upward_import_inside_a_function_is_detected() -> None:
    tree = ast.parse("def f():\n    from ecgnb.cli.main import main\n    return main\n")
    assert imported_modules(tree) == {"ecgnb.cli.main"}


def test_there_are_no_import_cycles() -> None:
    graph = {module_name(path): imported_modules(tree) for path, tree in TREES.items()}
    finished: set[str] = set()
    cycles = []

    def visit(module: str, parents: tuple[str, ...]) -> None:
        if module in parents:
            cycle = (*parents[parents.index(module) :], module)
            cycles.append(" -> ".join(cycle))
            return
        if module not in finished:
            for other in graph.get(module, ()):
                visit(other, (*parents, module))
            finished.add(module)

    for module in graph:
        visit(module, ())
    assert not cycles


def test_files_and_functions_are_short() -> None:
    offenders = []
    for path in MODULES:
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > MOST_LINES_OF_A_FILE:
            offenders.append(f"{module_name(path)}: {n_lines} lines")
    lengths = []
    for name, function in functions():
        length = body_length(function)
        lengths.append(length)
        if length > MOST_LINES_OF_A_FUNCTION:
            offenders.append(f"{name}: {length} lines")
    lengths.sort()
    median = lengths[len(lengths) // 2]
    ninth_decile = lengths[int(len(lengths) * 0.9)]
    if median > 10 or ninth_decile > 35:
        offenders.append(f"functions: median {median}, ninth decile {ninth_decile}")
    assert not offenders


def test_public_functions_and_classes_are_documented() -> None:
    undocumented = []
    for path, tree in TREES.items():
        name = module_name(path)
        if not ast.get_docstring(tree):
            undocumented.append(name)
        public = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
        ]
        for node in public:
            if not ast.get_docstring(node):
                undocumented.append(f"{name}.{node.name}")
            if not isinstance(node, ast.ClassDef) or node.bases:
                continue  # a method that overrides is documented where it is declared
            for method in node.body:
                if (
                    isinstance(method, ast.FunctionDef)
                    and not method.name.startswith("_")
                    and not ast.get_docstring(method)
                ):
                    undocumented.append(f"{name}.{node.name}.{method.name}")
    assert not undocumented


def test_module_names_are_unique() -> None:
    counts = Counter(path.stem for path in MODULES)
    repeated = {
        stem: count
        for stem, count in counts.items()
        if count > 1 and stem not in SHARED_BASE_NAMES
    }
    assert not repeated


def test_every_module_has_its_test_file() -> None:
    """`ecgnb/a/b.py` has `tests/a/test_b.py`, or more of them: `test_b_<topic>.py`.

    `base`, `config` and `__init__` may name their package: `test_models_base.py`.
    """
    tests = set((ROOT / "tests").rglob("test_*.py"))
    notebook_tests = set((ROOT / "tests" / "notebooks").rglob("test_*.py"))
    unmatched = {path for path in tests if path.stem not in OTHER_TESTS}
    unmatched -= notebook_tests  # they run notebooks, not a module
    missing = []
    for path in MODULES:
        package = path.parent.name
        stems = [path.stem]
        if path.stem in SHARED_BASE_NAMES:
            stems = [package, f"{package}_{path.stem}", path.stem]
        folder = ROOT / "tests" / path.parent.relative_to(PACKAGE)
        own = {
            test
            for test in tests
            if test.is_relative_to(folder)
            and any(re.fullmatch(rf"test_{stem}(_\w+)?", test.stem) for stem in stems)
        }
        unmatched -= own
        if not own and path.stem not in {"__init__", "__main__"}:
            missing.append(module_name(path))
    strays = [test.relative_to(ROOT).as_posix() for test in unmatched]
    assert not missing, f"modules without a test file: {missing}"
    assert not strays, f"test files without a module: {strays}"


def test_names_are_of_the_standard_vocabulary() -> None:
    uses: Counter[str] = Counter()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            name = ""
            if isinstance(node, ast.Name):
                name = node.id
            elif isinstance(node, ast.arg):
                name = node.arg
            if name in PRIVATE_VOCABULARY:
                uses[f"{module_name(path)}: {name}"] += 1
    assert not uses


def test_imports_inside_functions_are_of_optional_or_heavy_packages() -> None:
    """Everything else is imported at the top of its module.

    Optional extras may be missing. Heavy packages take a noticeable part of a second
    and are not needed by every caller. Light packages, which a notebook imports before
    it trains anything, import PyTorch and Matplotlib only where they are used.
    """
    extras = {"h5py", "huggingface_hub", "IPython", "onnx", "onnxruntime", "papermill"}
    heavy = {"lightning_fabric", "pandas", "scipy", "seaborn", "sklearn", "wfdb"}
    heavy_modules = {"ecgnb.figures.port_comparison", "ecgnb.port.convert_report"}
    unix_only = {"resource"}
    light = {"cli", "core", "run"}
    light_modules = {"ecgnb.data.config"}
    offenders = []
    for path, tree in TREES.items():
        name = module_name(path)
        if layer(name) in light or name in light_modules:
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                modules = []
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                for module in modules:
                    package = module.split(".")[0]
                    allowed = package in extras | heavy | unix_only
                    if not allowed and module not in heavy_modules:
                        offenders.append(f"{name}.{function.name}: {module}")
    assert not offenders


def test_there_are_no_leftovers_and_no_unsafe_loading() -> None:
    offenders = []
    unwanted = {
        "a leftover": r"\b(TODO|FIXME|XXX|HACK)\b",
        "unsafe loading": r"allow_pickle=True|weights_only=False",
        "a foreign import": r"^\s*(import|from)\s+(pickle|tensorflow|fairseq|hydra|omegaconf)\b",
    }
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for what, pattern in unwanted.items():
            if re.search(pattern, text, re.MULTILINE):
                offenders.append(f"{module_name(path)}: {what}")
    assert not offenders
