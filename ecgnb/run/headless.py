"""Execute a notebook with papermill; its parameters are checked before it starts."""

from __future__ import annotations

import ast
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.parameters import convert, plain_value
from ecgnb.run.config import RunConfig, parameter_types, refuse_unknown
from ecgnb.run.project import HOME, NOTEBOOK, master_notebook, project_root
from ecgnb.run.run import Run

#: Environment variable that `ecgnb.core.progress` reads.
PROGRESS = "ECGNB_PROGRESS"


def run_notebook(
    parameters: Mapping[str, Any],
    notebook: str | Path | None = None,
    output: str | Path | None = None,
) -> Path:
    """Execute a notebook with papermill and return the path of the executed copy.

    The copy is written after every cell, so it exists, with the error in it, when a
    cell fails. The output of the cells is printed here line by line.

    Args:
        parameters: names of the notebook's parameters to values; text is converted to
            the parameter's type.
        notebook: the notebook; by default the master notebook of this project, or of
            the clone of ecgnb that runs.
        output: path of the executed copy; ``logs/<run>.ipynb`` by default.

    Raises:
        ConfigError: an unknown parameter (with the nearest names) or a wrong type;
            nothing was started then.
        EcgnbError: a cell failed; the message has its error and the path of the
            executed copy.
    """
    source = _notebook_path(notebook)
    values = check_parameters(parameters, notebook_parameters(source), source.name)
    if output:
        target = Path(output)
    else:
        run = notebook_run(values, source)
        name = f"{run.name}.ipynb" if run else source.name
        target = project_root() / "logs" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    _execute(source, target, values)
    return target


def _notebook_path(notebook: str | Path | None) -> Path:
    path = Path(notebook) if notebook else master_notebook()
    if not path.is_file():
        raise ConfigError(
            f"There is no notebook {path}. Call this in a clone of ecgnb, or name the "
            "notebook; ECGNB_HOME decides only where results go."
        )
    return path


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and default values in a notebook's parameters cell.

    Raises:
        ConfigError: the file is no notebook, or no cell is tagged ``parameters``.
    """
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except Exception as error:  # whatever JSON, validation or decoding raises
        raise ConfigError(
            f"{notebook} is no readable notebook ({type(error).__name__}: {error})."
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        raise ConfigError(
            f"{notebook} has no cell tagged 'parameters'. Tag the cell that holds its "
            "parameters."
        )
    parameters = {}
    try:
        for node in ast.parse(tagged[0].source).body:
            if isinstance(node, ast.Assign):
                name: Any = node.targets[0]
                parameters[name.id] = ast.literal_eval(node.value)
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"The parameters cell of {notebook} cannot be read ({error}). It must hold "
            "nothing but lines such as NAME = 1 with plain values."
        ) from error
    return parameters


def check_parameters(
    parameters: Mapping[str, Any], defaults: Mapping[str, Any], notebook: str
) -> dict[str, Any]:
    """Refuse unknown names and wrong types; return the values converted to the types of
    the parameters.

    Args:
        parameters: names to values.
        defaults: of the notebook, from `notebook_parameters`. A notebook with a
            ``PROFILE`` takes all parameters of a run.
        notebook: its name, for the messages.
    """
    hints: dict[str, Any] = {name: type(value) for name, value in defaults.items()}
    opens_run = "PROFILE" in defaults
    for name, hint in parameter_types().items():
        if opens_run or name in defaults:
            hints[name] = hint
    refuse_unknown(parameters, hints, f"{notebook} has", f"It has: {', '.join(hints)}.")
    checked = {}
    for name, parameter in parameters.items():
        value = plain_value(parameter)
        if value is not None and hints[name] is not type(None):
            value = convert(name, value, hints[name])
        # papermill writes lists as literals, tuples as text
        checked[name] = list(value) if isinstance(value, tuple) else value
    if opens_run:  # values that contradict each other are refused here, not in a cell
        RunConfig.from_parameters(checked)
    return checked


def notebook_run(
    parameters: Mapping[str, Any], notebook: str | Path | None = None
) -> Run | None:
    """Return the run that a notebook opens with these parameters; None for a notebook
    without a ``PROFILE``.
    """
    source = _notebook_path(notebook)
    defaults = notebook_parameters(source)
    if "PROFILE" not in defaults:
        return None
    values = check_parameters(parameters, defaults, source.name)
    return Run(project_root(), RunConfig.from_parameters({**defaults, **values}))


def _execute(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    # Imported here: papermill takes a second, and refused parameters need none of it.
    import papermill
    from nbclient.exceptions import DeadKernelError

    # papermill warns about names that `check_parameters` has checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    executed = f"The executed notebook, up to that cell, is {target}."
    try:
        with _kernel_environment(source):
            papermill.execute_notebook(
                source,
                target,
                parameters=parameters,
                progress_bar=False,
                log_output=False,
                stdout_file=sys.stdout,  # what the cells print, line by line
                stderr_file=sys.stderr,
                cwd=project_root(),
                kernel_name="python3",
                language="python",
                # Every kernel warns that it uses no encryption otherwise.
                extra_arguments=["--log-level=ERROR"],
            )
    except papermill.PapermillExecutionError as error:
        raise EcgnbError(
            f"Cell In [{error.exec_count}] of {source.name} failed: {error.ename}: "
            f"{error.evalue}\n{executed}"
        ) from error
    except DeadKernelError as error:
        raise EcgnbError(
            f"The kernel died in a cell of {source.name}, as it does when memory runs "
            f"out. {executed} The same call continues where it stopped."
        ) from error


@contextmanager
def _kernel_environment(source: Path) -> Iterator[None]:
    """Set the variables of the kernel: its project, its notebook, and lines of
    progress, unless the user chose another display; a bar would be printed at every
    refresh.
    """
    variables = {
        # Absolute: the kernel starts in another folder.
        HOME: str(project_root()),
        NOTEBOOK: str(source.resolve()),
        PROGRESS: os.environ.get(PROGRESS) or "lines",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
