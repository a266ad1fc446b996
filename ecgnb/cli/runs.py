"""Commands about runs: run, train, preflight, parameters and runs."""

from __future__ import annotations

import functools
import json
import sys
from contextlib import redirect_stdout
from typing import Any

import click

from ecgnb.cli.base import (
    ParameterCommand,
    command,
    json_option,
    print_table,
    run_parameters,
)
from ecgnb.core.errors import ConfigError
from ecgnb.run.config import RunConfig
from ecgnb.run.project import project_root
from ecgnb.run.run import Run
from ecgnb.run.session import find_run, list_runs, log_to, open_run

#: Columns of the history that `ecgnb train` prints.
_HISTORY = ["epoch", "train_loss", "valid_loss", "macro_f1", "macro_auroc", "seconds"]


@command(cls=ParameterCommand)
@click.argument("notebook", required=False)
@click.option(
    "-o", "--output", help="The executed notebook (default: logs/<run>.ipynb)."
)
@run_parameters
def run(parameters: dict[str, Any], notebook: str | None, output: str | None) -> None:
    """Execute the master notebook, or another one, without a browser.

    NOTEBOOK is notebooks/master_pipeline.ipynb by default.
    """
    from ecgnb.run.headless import notebook_run, run_notebook

    print(f"\nexecuted notebook  {run_notebook(parameters, notebook, output)}")
    opened = notebook_run(parameters, notebook)
    if opened is not None:
        for title, path in opened.result_paths().items():
            print(f"{title:<18} {path}")


@command(cls=ParameterCommand)
@click.argument("run", default="")
@run_parameters
def train(parameters: dict[str, Any], run: str) -> None:
    """Do the stages up to training without a notebook; under torchrun, as one rank.

    RUN is the name of an existing run; without it, the parameters decide.
    """
    from ecgnb.run.preflight import preflight
    from ecgnb.stages.cohort import load_cohort
    from ecgnb.stages.prepare import prepare
    from ecgnb.stages.split import split
    from ecgnb.stages.train import train as train_run
    from ecgnb.training.devices import is_first_process
    from ecgnb.training.launch import on_rank_zero

    if run and parameters:
        raise ConfigError(
            "Give the name of a run or parameters, not both: a run keeps the "
            "parameters it was created with."
        )
    # None is "not set": the run of the defaults, not the latest one.
    opened = find_run(run) if run else open_run(parameters or {"PROFILE": None})
    log_to(opened)

    def prepare_training() -> None:
        preflight(opened)
        load_cohort(opened)
        prepare(opened)
        split(opened)

    # The other processes of torchrun wait for it.
    on_rank_zero(prepare_training, opened.config.training, opened.folder)
    train_run(opened)
    if is_first_process():  # one table, however many processes
        print_table(opened.history[_HISTORY])


@command(cls=ParameterCommand)
@json_option
@run_parameters
def preflight(parameters: dict[str, Any], as_json: bool) -> None:
    """Check data, labels, disk, GPU and versions before a run."""
    from ecgnb.core.compatibility import refuse_broken

    refuse_broken()  # first, because a broken package may not even import
    from ecgnb.run.preflight import preflight as check

    config = RunConfig.from_parameters(parameters)
    with redirect_stdout(sys.stderr):  # the run's name is no part of the table
        table = check(Run(project_root(), config))
    print_table(table, as_json)


@command("parameters", cls=ParameterCommand)
@click.option("--run", "run_name", metavar="RUN", help="Those of an existing run.")
@json_option
@run_parameters
def list_parameters(
    parameters: dict[str, Any], run_name: str | None, as_json: bool
) -> None:
    """List all parameters: resolved value, where it came from, meaning."""
    if run_name:
        chosen = find_run(run_name)  # "latest" is a name, too
        print(chosen.title, file=sys.stderr)
        config = chosen.config
    else:
        config = RunConfig.from_parameters(parameters)
    table = config.table()
    if not as_json:
        as_json_text = functools.partial(json.dumps, ensure_ascii=False)
        table["value"] = table["value"].map(as_json_text)
    print_table(table, as_json)


@command()
@click.argument("run", default="")
@json_option
def runs(run: str, as_json: bool) -> None:
    """List the runs of this project, or the stages of one RUN."""
    if not run:
        print_table(list_runs(), as_json)
        return
    chosen = find_run(run)
    print(chosen.title, file=sys.stderr)
    print_table(chosen.stages_table(), as_json)
