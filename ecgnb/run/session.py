"""Open, find and list runs; everything a notebook cell needs is read from the run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.core.errors import CheckpointError, ConfigError, StageError
from ecgnb.core.files import (
    make_folder,
    read_dict,
    read_sealed,
    write_json,
    write_sealed,
)
from ecgnb.core.parameters import convert, plain_value
from ecgnb.core.progress import say
from ecgnb.core.registry import nearest
from ecgnb.core.transient import refuse_transient
from ecgnb.run.config import (
    RunConfig,
    parameter_types,
    parameters_from_namespace,
    refuse_unknown,
)
from ecgnb.run.project import (
    input_path,
    mark_root,
    notebook_shell,
    project_root,
    writing_to,
)
from ecgnb.run.run import STAGES, Run

if TYPE_CHECKING:
    import pandas as pd

# The run this process opened last. Two processes in one project do not share it.
_opened: Run | None = None
# Parameters that the notebook's variables held then; None: they were not read.
_opened_with: dict[str, Any] | None = None
# The notebook's cell that named a run last, and that run.
_named: tuple[int, str] | None = None
#: File in the folder of a run that is one of many: a study's, not the user's latest.
PART_OF = "part_of.json"


def open_run(
    parameters: Mapping[str, Any] | None = None, part_of: str = "", **more: Any
) -> Run:
    """Open a run, or create it.

    With parameters (a notebook's ``globals()`` or keywords such as ``PROFILE="smoke"``)
    the run of that configuration is opened or created. Without, it is the run that this
    process opened last; in a new process, the latest of the project. It takes
    milliseconds and changes no finished stage, so every cell may begin with it.

    Args:
        parameters: upper-case names to values; other names are ignored, an unknown
            upper-case one is refused.
        part_of: name of the study that this run is a part of, such as
            "compare_starts". Such a run never becomes the latest, unless it is opened
            without this name later.
        **more: parameters as keywords; they override ``parameters``.

    Raises:
        ConfigError: an unknown parameter or a wrong type; or without parameters, those
            of the notebook are no longer those of the run.
        StageError: no parameters, and no run was opened in this project yet.

    >>> run = open_run(PROFILE="smoke")  # doctest: +SKIP
    """
    global _opened, _opened_with
    root = project_root()
    values = {**parameters_from_namespace(parameters or {}), **more}
    if part_of:
        return _start_part(Run(root, RunConfig.from_parameters(values)), part_of)
    if values:
        _opened = _start(Run(root, RunConfig.from_parameters(values)))
        # Keywords and dictionaries have nothing to do with the notebook's variables.
        _opened_with = notebook_values() if is_notebook(parameters) else None
        return _opened
    # The globals() of a restarted kernel hold no parameters until the parameters cell
    # runs again: continue with the latest run, or create the default one if there is
    # none.
    if parameters is None or _opened or _latest_file(root).is_file():
        if _opened is None:
            _opened, _opened_with = _latest_run(root), notebook_values()
        refuse_changed_parameters(_opened)
        log_to(_opened)  # a part of a study may have been opened since
    else:
        _opened = _start(Run(root, RunConfig.from_parameters({})))
        _opened_with = notebook_values() if is_notebook(parameters) else None
    return _opened


def use_run(run: Run) -> Run:
    """Name a run and its model in one line, once per notebook cell, before it is used.

    Every stage, figure, prediction and explanation calls it.

    Raises:
        ConfigError: it is the open run, and the notebook's parameters have changed
            since it was opened.
    """
    if run is _opened:
        refuse_changed_parameters(run)
    _name_once(run, f"{run.title[0].upper()}{run.title[1:]}.")
    return run


def refuse_changed_parameters(run: Run) -> None:
    """Raise where the notebook's variables hold other parameters than when ``run`` was
    opened: its parameters cell was run again, and the cell after it was not.

    Raises:
        ConfigError: with the first parameter that differs.
    """
    if _opened_with is None or notebook_shell() is None:
        return
    _refuse_mistyped()
    for name, value in notebook_values().items():
        before = _opened_with.get(name)
        if value != before:
            difference = "was opened without it"
            if before is not None:
                difference = f"was opened with {before!r}"
            raise _other_parameters(run, name, value, difference)


def _refuse_mistyped() -> None:
    """Raise for a variable of the notebook that is named almost like a parameter."""
    for name, value in parameters_from_namespace(notebook_shell().user_ns).items():
        if nearest(name, parameter_types()):
            refuse_unknown({name: value}, parameter_types(), "There is", "")


def _other_parameters(run: Run, name: str, value: Any, difference: str) -> ConfigError:
    text = "not set" if value is None else repr(value)
    return ConfigError(
        f"{name} is {text} in this notebook, but run {run.name} {difference}. Run the "
        "cell with `run = ecgnb.open_run(globals())` again for the run of these "
        f"parameters; ecgnb.find_run({run.name!r}) returns the other one."
    )


def is_notebook(namespace: Mapping[str, Any] | None) -> bool:
    """Return whether this is the ``globals()`` of a notebook."""
    shell = notebook_shell()
    return shell is not None and namespace is shell.user_ns


def notebook_values() -> dict[str, Any]:
    """Return the parameters among the notebook's variables, None where one is not set.

    Raises:
        ConfigError: a value has a wrong type.
    """
    shell = notebook_shell()
    values = {}
    for name, hint in parameter_types().items():
        if shell is not None and name in shell.user_ns:
            value = plain_value(shell.user_ns[name])
            values[name] = None if value is None else convert(name, value, hint)
    return values


def find_run(name: str = "latest") -> Run:
    """Return a run of this project by its name or its folder, without opening it.

    Args:
        name: the run; "latest" is the one that this process opened, if it is evaluated,
            else the run that was evaluated last.

    Raises:
        StageError: there is no such run; the message lists the existing ones.
    """
    root = project_root()
    if name == "latest":
        return _last_evaluated(root)
    for folder in (Path(input_path(name)), _runs_folder(root) / name):
        if (folder / "config.json").is_file():
            return _read_run(folder.resolve())
    files = _runs_folder(root).glob("*/config.json")
    known = ", ".join(sorted(file.parent.name for file in files)) or "none yet"
    raise StageError(f"There is no run {name!r}. Runs here: {known}.")


def list_runs() -> pd.DataFrame:
    """List the runs of this project, the newest first: ``run, last stage, changed``."""
    import pandas as pd

    rows = []
    for config in _runs_folder(project_root()).glob("*/config.json"):
        last_stage, changed = "", config.stat().st_mtime
        for stage in STAGES:
            record = config.parent / "stages" / f"{stage}.json"
            if record.is_file():
                last_stage = stage
                changed = max(changed, record.stat().st_mtime)
        when = datetime.fromtimestamp(changed).isoformat(sep=" ", timespec="seconds")
        rows.append((config.parent.name, last_stage, when))
    table = pd.DataFrame(rows, columns=["run", "last stage", "changed"])
    return table.sort_values("changed", ascending=False, ignore_index=True)


def _start(run: Run) -> Run:
    """Write the run's configuration, make the run the latest and open its log."""
    latest = _latest_file(run.root)
    with writing_to(run.root):
        _write_config(run)
        mark_root(run.root)
        run.path(PART_OF).unlink(missing_ok=True)
        if read_dict(latest).get("run") != run.name:
            write_json(latest, {"run": run.name})
    log_to(run)
    return run


def _start_part(run: Run, study: str) -> Run:
    """Write the configuration of a part of a study, and open its log."""
    with writing_to(run.root):
        if not run.path("config.json").is_file():  # else it is the user's already
            write_json(run.path(PART_OF), {"study": study})
        _write_config(run)
        mark_root(run.root)
    log_to(run)
    return run


def _write_config(run: Run) -> None:
    file = run.path("config.json")
    config = run.config
    written = None
    with contextlib.suppress(StageError):  # new, or damaged: written again
        written = _read_config(file)
    if written and written.key() != config.key():
        raise CheckpointError(
            f"{file} does not belong to run {run.name}. Move that folder away and "
            "start again."
        )
    # Equal configurations may have their values from other sources.
    if written != config or written.sources() != config.sources():
        write_sealed(
            file, {"parameters": config.parameters(), "sources": config.sources()}
        )


def _runs_folder(root: Path) -> Path:
    return root / "artifacts" / "runs"


def _latest_file(root: Path) -> Path:
    return _runs_folder(root) / "latest.json"


def _latest_run(root: Path) -> Run:
    latest = _latest_file(root)
    name = read_dict(latest).get("run")
    if name is None:
        problem = f"No run was opened in {root} yet"
        if latest.is_file():
            problem = f"{latest} cannot be read"
        raise StageError(
            f"{problem}. Run the parameters cell and the cell after it, or call "
            "ecgnb.open_run(PROFILE='smoke')."
        )
    run = _read_run(latest.parent / str(name))
    _refuse_parameters_of_another(run)
    # It may not be the one the reader expects.
    _name_once(run, f"Going on with {run.title} in {root}.")
    return run


def _name_once(run: Run, line: str) -> None:
    """Print a line that names a run, unless this cell of a notebook has done so."""
    global _named
    shell = notebook_shell()
    cell = None if shell is None else (shell.execution_count, run.name)
    if cell is None or cell != _named:
        say(line)
    _named = cell


def _refuse_parameters_of_another(run: Run) -> None:
    """Raise where a notebook that opens the project's latest run has other parameters.

    After a restart there are none; then the run is the one to go on with.
    """
    parameters, sources = run.config.parameters(), run.config.sources()
    for name, value in notebook_values().items():
        is_default = sources[name] != "notebook"
        if (value is None and is_default) or value == parameters[name]:
            continue
        raise _other_parameters(run, name, value, f"has {parameters[name]!r}")


def _last_evaluated(root: Path) -> Run:
    opened = _opened if _opened and _opened.root == root else None
    if opened and opened.record("evaluate"):
        return opened
    records = []
    for file in _runs_folder(root).glob("*/stages/evaluate.json"):
        if not (file.parents[1] / PART_OF).is_file():
            records.append(file)
    if not records:
        raise StageError(
            f"No run in {root} has done stage 'evaluate' yet. Do one first: `ecgnb "
            f"run`, or the cells of the notebook up to {STAGES['evaluate'].call}."
        )
    newest = max(records, key=_finished)
    run = _read_run(newest.parents[1])
    if opened:
        say(f"Run {opened.name}, which is open, is not evaluated yet: {run.title}.")
    return run


def _finished(record: Path) -> tuple[str, int]:
    """Return when a stage was finished, for sorting."""
    # What the stage wrote comes first: a copy or a backup has other file times.
    return str(read_dict(record).get("finished")), record.stat().st_mtime_ns


def _read_run(folder: Path) -> Run:
    file = folder / "config.json"
    run = Run(folder.parents[2], _read_config(file))
    if run.name != folder.name:
        raise StageError(
            f"{file} is the configuration of a run {run.name}: the folder was renamed, "
            "or made with another version of ecgnb. Open the run again with its "
            "parameters."
        )
    return run


def _read_config(file: Path) -> RunConfig:
    try:
        content = read_sealed(file)
        return RunConfig.from_resolved(content["parameters"], content["sources"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        refuse_transient(error, file)
        raise StageError(
            f"{file} cannot be read ({error}). Open the run again with its parameters."
        ) from error


class _RunLog(logging.FileHandler):
    """Log file whose folder may disappear or become read-only during a run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)


def log_to(run: Run) -> None:
    """Send the package's log to the run's file, and to no other."""
    file = run.log_file
    logger = logging.getLogger("ecgnb")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            if Path(handler.baseFilename) == file:
                return
            logger.removeHandler(handler)
            handler.close()
    make_folder(file.parent)
    log = _RunLog(file, encoding="utf-8", delay=True)  # created at the first line
    log.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # not to the handlers of a notebook or of papermill
