"""Project root: the folder of outputs, the folder of code, and relative paths.

A project's root is the nearest folder, from the current one upwards, that holds the
master notebook (a clone of ecgnb) or the file `MARKER`, which the first run of a
project elsewhere writes. Both are independent of outputs: a folder ``artifacts`` below
a notebook makes no second project. ``ECGNB_HOME`` puts the outputs into another folder;
notebooks and examples are still those of the clone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ecgnb
from ecgnb.core.errors import FileError
from ecgnb.core.files import DISK_FULL, write_text
from ecgnb.core.progress import say

#: The notebook that `ecgnb run` executes; its folder's parent is a project's root.
MASTER = Path("notebooks") / "master_pipeline.ipynb"
#: The file that makes any other folder a project's root.
MARKER = ".ecgnb-project"
MARKER_TEXT = (
    "ecgnb keeps artifacts, figures and logs in this folder, for notebooks and "
    "commands in it and below it.\n"
)
#: Environment variable with the folder of outputs.
HOME = "ECGNB_HOME"
#: Environment variable with the notebook that `ecgnb run` executes in a kernel.
NOTEBOOK = "ECGNB_NOTEBOOK"


def project_root() -> Path:
    """Return the folder of outputs: ``ECGNB_HOME``, else the `code_root`.

    A relative ``ECGNB_HOME`` refers to the `code_root`, so that a kernel in
    ``notebooks/`` and a command in the project's folder use the same one.
    """
    root = code_root()
    home = os.environ.get(HOME, "").strip()
    return (root / Path(home).expanduser()).resolve() if home else root


def code_root() -> Path:
    """Return the nearest folder, from the current one upwards, that is a project's
    root; the current folder where there is none.
    """
    current = Path.cwd()
    for folder in (current, *current.parents):
        if is_root(folder):
            return folder
    return current


def is_root(folder: Path) -> bool:
    """Return whether a folder has the master notebook or the `MARKER`."""
    return (folder / MASTER).is_file() or (folder / MARKER).is_file()


def mark_root(root: Path) -> None:
    """Write the `MARKER` into a folder that is no project's root yet."""
    if not is_root(root):
        write_text(root / MARKER, MARKER_TEXT)


@contextlib.contextmanager
def writing_to(root: Path) -> Iterator[None]:
    """Add to the error of a folder that cannot be written how to choose another one.

    Raises:
        FileError: in place of one without that advice.
    """
    try:
        yield
    except FileError as error:
        if error.errno in DISK_FULL:  # its advice is another one
            raise
        raise FileError(
            f"{error} Results go to the project's folder, {root}: start in another "
            f"one, or set {HOME} to a folder of yours. The code may stay where it is.",
            error.errno,
        ) from error


def package_root() -> Path:
    """Return the folder that holds the package ``ecgnb`` that runs."""
    return Path(ecgnb.__file__).resolve().parents[1]


def master_notebook() -> Path:
    """Return the master notebook of the current project, else that of ``ECGNB_HOME``,
    else that of the clone that holds the package; the first if there is none.
    """
    roots = (code_root(), project_root(), package_root())
    notebooks = [root / MASTER for root in roots]
    return next(filter(Path.is_file, notebooks), notebooks[0])


def input_path(path: str | os.PathLike[str]) -> str:
    """Return where a file or folder with a relative path is.

    It is looked for in the project's folder, then in the clone with the notebook or the
    package (its ``examples``), then in the current folder; a line is printed when it is
    in several. A path that is in none of them, such as a name on the hub, is returned
    as it is.

    >>> input_path("owner/repository")
    'owner/repository'
    """
    text = os.fspath(path)
    if not text:  # a parameter that is not set
        return text
    roots = [project_root(), code_root(), package_root(), Path.cwd()]
    if (notebook := open_notebook()) and (clone := clone_of(notebook)):
        roots.insert(2, clone)
    existing: dict[Path, str] = {}  # the same file may have several paths
    for root in roots:
        candidate = root / Path(text).expanduser()  # an absolute one stays as it is
        if candidate.exists():
            existing.setdefault(candidate.resolve(), str(candidate))
    if not existing:
        return text
    chosen, *others = existing.values()
    if others:
        say(
            f"{text!r} is {chosen} here, not {', '.join(others)}. Give a full path to "
            "choose."
        )
    return chosen


def output_path(path: str | os.PathLike[str]) -> str:
    """Return a path in the project's folder; an absolute one is returned as it is."""
    return str(project_root() / Path(path).expanduser())


def project_path(path: str) -> str:
    """Return a path in the project's folder relative to it, so that a run has the same
    name wherever the project is; any other path or name is returned as it is.
    """
    root = project_root()
    if not Path(path).is_relative_to(root):
        return path
    return Path(path).relative_to(root).as_posix()


def clone_of(path: Path) -> Path | None:
    """Return the clone of ecgnb that a file or folder is in; None outside of any."""
    for folder in (path, *path.parents):
        if (folder / "ecgnb" / "__init__.py").is_file():
            return folder
    return None


def open_notebook() -> Path | None:
    """Return the file of the notebook that runs this code; None outside a notebook, or
    where its program does not name it.
    """
    if name := os.environ.get(NOTEBOOK):
        return Path(name)
    shell = notebook_shell()
    if shell is None:
        return None
    # VS Code sets the first, JupyterLab the second.
    name = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    file = Path(name or "")
    return file if file.is_file() else None


def notebook_shell() -> Any:
    """Return IPython's shell, with the notebook's variables; None in a script."""
    if "IPython" not in sys.modules:  # nobody has started it
        return None
    from IPython import get_ipython

    return get_ipython()
