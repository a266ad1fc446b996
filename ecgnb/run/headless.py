"""Run a notebook without anybody in front of it: papermill, with parameters that are
checked before it starts.
"""

from __future__ import annotations

import ast
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.parameters import convert
from ecgnb.core.registry import nearest
from ecgnb.run.config import RunConfig, parameter_types
from ecgnb.run.run import Run
from ecgnb.run.session import project_root

MASTER = Path("notebooks") / "master_pipeline.ipynb"
#: How `ecgnb.core.progress` shows how far it is.
PROGRESS = "ECGNB_PROGRESS"


def run_notebook(
    parameters: Mapping[str, Any],
    notebook: str | Path | None = None,
    output: str | Path | None = None,
) -> Path:
    """Execute a notebook with papermill and return the path of the executed copy.

    The copy is written after every cell, so it is there, with the error in it, when a
    cell fails. What the cells print appears here line by line.

    Args:
        parameters: names of the notebook's parameters to values; text is converted to
            the parameter's type.
        notebook: the notebook; the master notebook of this project by default.
        output: where the executed copy goes; ``logs/<run>.ipynb`` by default.

    Raises:
        ConfigError: an unknown parameter (with the nearest names) or a wrong type;
            nothing was started then.
        EcgnbError: a cell failed; the message says which, with its error and where the
            executed copy lies.
    """
    source = Path(notebook) if notebook else project_root() / MASTER
    if not source.is_file():
        raise ConfigError(
            f"There is no notebook {source}. Call this in the project's folder, or name the notebook."
        )
    checked = check_parameters(parameters, notebook_parameters(source), source.name)
    target = Path(output) if output else _default_output(source, checked)
    target.parent.mkdir(parents=True, exist_ok=True)
    _execute(source, target, checked)
    return target


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and default values in a notebook's parameters cell.

    Raises:
        ConfigError: the file is no notebook, or no cell is tagged ``parameters``.
    """
    import nbformat

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (
        Exception
    ) as error:  # nbformat raises whatever its JSON, validation or decoding steps raise
        raise ConfigError(
            f"{notebook} is no readable notebook ({type(error).__name__}: {error})."
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        raise ConfigError(
            f"{notebook} has no cell tagged 'parameters'. Tag the cell that holds its parameters."
        )
    try:
        assignments = [
            node
            for node in ast.parse(tagged[0].source).body
            if isinstance(node, ast.Assign)
        ]
        return {
            node.targets[0].id: ast.literal_eval(node.value) for node in assignments
        }  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The parameters cell of {notebook} cannot be read ({error}). It must hold nothing but lines such as "
            "NAME = 1 with plain values."
        ) from error


def check_parameters(
    given: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Refuse unknown names and wrong types; return the values with text converted to
    the parameter's type.
    """
    hints = parameter_types()
    master = "PROFILE" in known
    names = {**hints, **known} if master else dict(known)
    for name in given:
        if name not in names:
            near = nearest(name, list(names))
            hint = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else f"It has: {', '.join(names)}."
            )
            raise ConfigError(
                f"{where} has no parameter {name!r} (value {given[name]!r}). {hint}"
            )
    checked = {
        name: convert(name, value, hints[name] if name in hints else type(known[name]))
        if value is not None and (name in hints or known[name] is not None)
        else value
        for name, value in given.items()
    }
    if master:  # values that contradict each other or lie out of range are found here, not in a cell
        RunConfig.from_parameters(checked)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in checked.items()
    }


def notebook_run(
    parameters: Mapping[str, Any], notebook: str | Path | None = None
) -> Run | None:
    """Return the run that a notebook opens with these parameters; None for a notebook
    without a ``PROFILE``.
    """
    source = Path(notebook) if notebook else project_root() / MASTER
    known = notebook_parameters(source)
    if "PROFILE" not in known:
        return None
    given = check_parameters(parameters, known, source.name)
    return Run(project_root(), RunConfig.from_parameters({**known, **given}))


def _default_output(source: Path, parameters: Mapping[str, Any]) -> Path:
    run = notebook_run(parameters, source)
    return project_root() / "logs" / (f"{run.name}.ipynb" if run else source.name)


def _execute(source: Path, target: Path, parameters: Mapping[str, Any]) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(
        logging.ERROR
    )  # its warnings are about names that were checked above
    so_far = f"The executed notebook, up to that cell, is {target}."
    try:
        with _progress_as_lines():
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters=dict(parameters),
                progress_bar=False,
                log_output=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                cwd=str(project_root()),
                kernel_name="python3",
                language="python",
                extra_arguments=[
                    "--log-level=ERROR"
                ],  # without it every kernel warns that it uses no encryption
            )
    except papermill.PapermillExecutionError as error:
        raise EcgnbError(
            f"Cell In [{error.exec_count}] of {source.name} failed: {error.ename}: {error.evalue}\n{so_far}"
        ) from error
    except DeadKernelError as error:
        raise EcgnbError(
            f"The kernel died in a cell of {source.name}, as it does when memory runs out. {so_far} "
            "The same call goes on where it was."
        ) from error


@contextmanager
def _progress_as_lines() -> Iterator[None]:
    """Let the kernel print lines unless the user chose another display; a bar would be
    printed at every refresh.
    """
    chosen = os.environ.get(PROGRESS)
    os.environ[PROGRESS] = chosen or "lines"
    try:
        yield
    finally:
        os.environ.pop(PROGRESS)
        if chosen is not None:
            os.environ[PROGRESS] = chosen
