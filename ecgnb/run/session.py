"""`open_run`: everything a notebook cell needs is read back from the run's folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.core.errors import CheckpointError, StageError
from ecgnb.core.files import make_folder, read_json, write_json
from ecgnb.core.progress import say
from ecgnb.run.config import RunConfig, parameters_from_namespace
from ecgnb.run.run import STAGES, Run, read_dict

if TYPE_CHECKING:
    import pandas as pd

# The run this process opened last. Two runs at once in one project each keep to their
# own.
_opened: Run | None = None


def open_run(parameters: Mapping[str, Any] | None = None, **more: Any) -> Run:
    """Open a run, or make it.

    With parameters (a notebook's ``globals()`` or keywords such as ``PROFILE="smoke"``)
    the run of that configuration is opened or made. With none, the run this process
    opened last; in a fresh process, the latest of the project. It takes milliseconds
    and changes nothing that is done, so every cell may begin with it.

    Args:
        parameters: upper-case names to values; other names are ignored, an unknown
            upper-case one is refused.
        **more: parameters as keywords; they win.

    Raises:
        ConfigError: an unknown parameter or a wrong type.
        StageError: no parameters, and no run was ever opened here.

    >>> run = open_run(PROFILE="smoke")  # doctest: +SKIP
    """
    global _opened
    given = {**parameters_from_namespace(parameters or {}), **more}
    # The globals() of a restarted kernel hold no parameters until the parameters cell
    # runs again: it is the latest run that goes on there, and the default one only
    # where there is none.
    if not given and (
        parameters is None or _opened or _latest_file(project_root()).is_file()
    ):
        _opened = _opened or _latest_run(project_root())
        return _opened
    _opened = _start(Run(project_root(), RunConfig.from_parameters(given)))
    return _opened


def find_run(name: str = "latest", done: str = "evaluate") -> Run:
    """Look up a run of this project by its name or its folder; it does not become the
    latest by that.

    Args:
        name: the run; "latest" is the one that this process opened, where ``done`` is
            done in it, else the one in which it was done last.
        done: that stage.

    Raises:
        StageError: there is no such run; the message lists those there are.
    """
    root = project_root()
    if name == "latest":
        return _last_done(root, done)
    folder = (
        Path(name)
        if (Path(name) / "config.json").is_file()
        else root / "artifacts" / "runs" / name
    )
    if not (folder / "config.json").is_file():
        known = sorted(
            path.parent.name
            for path in (root / "artifacts" / "runs").glob("*/config.json")
        )
        raise StageError(
            f"There is no run {name!r}. Runs here: {', '.join(known) or 'none yet'}."
        )
    return _read_run(folder.resolve())


def list_runs() -> pd.DataFrame:
    """List the runs of this project, the newest first: ``run, last stage, changed``."""
    import pandas as pd

    rows = []
    for file in (project_root() / "artifacts" / "runs").glob("*/config.json"):
        stages = [
            stage
            for stage in STAGES
            if (file.parent / "stages" / f"{stage}.json").is_file()
        ]
        changed = max(
            path.stat().st_mtime for path in (file, *file.parent.glob("stages/*.json"))
        )
        when = datetime.fromtimestamp(changed).isoformat(sep=" ", timespec="seconds")
        rows.append(
            {
                "run": file.parent.name,
                "last stage": stages[-1] if stages else "",
                "changed": when,
            }
        )
    table = pd.DataFrame(rows, columns=["run", "last stage", "changed"])
    return table.sort_values("changed", ascending=False, ignore_index=True)


def project_root() -> Path:
    """Return the project's folder: ``ECGNB_HOME``, else the nearest folder above that
    has ``artifacts`` in it.

    A notebook's kernel may start in ``notebooks/`` or in the project's folder; both
    find the same one.
    """
    if home := os.environ.get("ECGNB_HOME"):
        return Path(home).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "artifacts").is_dir():
            return folder
    return here


def _start(run: Run) -> Run:
    """Write the run's configuration, note it as the latest and send its log to a
    file.
    """
    file = run.path("config.json")
    written = read_dict(file)
    found = RunConfig.from_resolved(written) if written else None
    if found != run.config:
        # New, or another value of a parameter that does not name the run.
        if found and found.key() != run.config.key():
            raise CheckpointError(
                f"{file} does not belong to run {run.name}. Move that folder away and start again."
            )
        write_json(file, run.config.parameters())
    latest = _latest_file(run.root)
    if read_dict(latest).get("run") != run.name:
        write_json(latest, {"run": run.name})
    log_to(run)
    return run


def _latest_file(root: Path) -> Path:
    return root / "artifacts" / "runs" / "latest.json"


def _latest_run(root: Path) -> Run:
    latest = _latest_file(root)
    name = read_dict(latest).get("run")
    if name is None:
        what = (
            f"{latest} cannot be read"
            if latest.is_file()
            else f"No run was opened in {root} yet"
        )
        raise StageError(
            f"{what}. Run the parameters cell and the cell after it, or call ecgnb.open_run(PROFILE='smoke')."
        )
    run = _read_run(latest.parent / str(name))
    log_to(run)
    say(
        f"Going on with run {run.name}."
    )  # it may not be the one that the reader has in mind
    return run


def _last_done(root: Path, stage: str) -> Run:
    if _opened and _opened.root == root and _opened.record(stage):
        return _opened
    finished = list((root / "artifacts" / "runs").glob(f"*/stages/{stage}.json"))
    if not finished:
        raise StageError(
            f"No run in {root} has done stage {stage!r} yet. Do one first: `ecgnb run`, or the cells of the notebook "
            f"up to {STAGES[stage].call}."
        )
    return _read_run(max(finished, key=lambda file: file.stat().st_mtime).parent.parent)


def _read_run(folder: Path) -> Run:
    file = folder / "config.json"
    try:
        run = Run(folder.parents[2], RunConfig.from_resolved(read_json(file)))
    except (OSError, ValueError, TypeError) as error:
        raise StageError(
            f"{file} cannot be read ({error}). Open the run again with its parameters."
        ) from error
    if run.name != folder.name:
        raise StageError(
            f"{file} is the configuration of a run {run.name}: the folder was renamed, or made with another version of "
            "ecgnb. Open the run again with its parameters."
        )
    return run


class _RunLog(logging.FileHandler):
    """A log whose folder went away or became read-only must not stop what it tells
    about.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)


def log_to(run: Run) -> None:
    """Send the package's log to the run's file, and to that file alone."""
    file = run.log_file
    logger = logging.getLogger("ecgnb")
    current = [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.FileHandler)
    ]
    if any(Path(handler.baseFilename) == file for handler in current):
        return
    for handler in current:
        logger.removeHandler(handler)
        handler.close()
    make_folder(file.parent)
    handler = _RunLog(file, encoding="utf-8", delay=True)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
