"""The `ecgnb` command: a thin shell over the package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.cli.models import add_model_commands
from ecgnb.cli.port import add_port_commands
from ecgnb.core.console import add_command, terminal_width, text_table
from ecgnb.core.errors import ConfigError, EcgnbError

if TYPE_CHECKING:
    import pandas as pd


#: Columns of probabilities that a terminal can show, and how many highest ones stand
#: there otherwise.
_MOST_CLASSES, _HIGHEST = 8, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0 done, 1 failed, 2 wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        options.do(options)
    except ConfigError as error:
        print(f"ecgnb: {error}", file=sys.stderr)
        return 2
    except EcgnbError as error:
        print(f"ecgnb: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("ecgnb: stopped; the same command goes on where it was.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecgnb", description="Deep learning on electrocardiograms."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_train(commands)
    _add_predict(commands)
    _add_data_commands(commands)
    _add_looking_commands(commands)
    add_port_commands(commands)
    add_model_commands(commands)
    return parser


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ecgnb import __version__

        parser.exit(message=f"ecgnb {__version__}\n")


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile",
        choices=("smoke", "medium", "full"),
        help="the same as -p PROFILE ...",
    )
    command.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter, as often as needed; `ecgnb parameters` lists them",
    )  # fmt: skip


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = dict(options.parameter)
    return {"PROFILE": options.profile, **given} if options.profile else given


def _add_run(commands: Any) -> None:
    command = add_command(
        commands, "run", _run, "execute the master notebook, or another one, headless"
    )
    command.add_argument(
        "notebook",
        nargs="?",
        help="the notebook (default: notebooks/master_pipeline.ipynb)",
    )
    command.add_argument(
        "-o",
        "--output",
        help="where the executed notebook goes (default: logs/<run>.ipynb)",
    )
    _add_parameters(command)


def _run(options: argparse.Namespace) -> None:
    from ecgnb.run.headless import master_run, run_notebook

    parameters = _parameters(options)
    executed = run_notebook(parameters, options.notebook, options.output)
    print(f"\nexecuted notebook  {executed}")
    run = master_run(parameters, options.notebook)
    for what, place in (run.places() if run else {}).items():
        print(f"{what:<18} {place}")


def _add_train(commands: Any) -> None:
    command = add_command(
        commands,
        "train",
        _train,
        "do the stages up to training without a notebook; under torchrun, one rank of it",
    )
    command.add_argument(
        "run",
        nargs="?",
        default="",
        help="name of an existing run (default: by the parameters)",
    )
    _add_parameters(command)


def _train(options: argparse.Namespace) -> None:
    from ecgnb.run.preflight import preflight
    from ecgnb.run.session import find_run, log_to, open_run
    from ecgnb.stages.cohort import load_cohort
    from ecgnb.stages.prepare import prepare
    from ecgnb.stages.split import split
    from ecgnb.stages.train import train
    from ecgnb.training.devices import is_first_process
    from ecgnb.training.launch import on_rank_zero

    parameters = _parameters(options)
    if options.run and parameters:
        raise ConfigError(
            "Give the name of a run or parameters, not both: a run keeps the parameters it was made with."
        )
    run = (
        find_run(options.run)
        if options.run
        else open_run(parameters or {"PROFILE": None})
    )
    log_to(run)

    def get_ready() -> None:
        preflight(run)
        for stage in (load_cohort, prepare, split):
            stage(run)

    on_rank_zero(get_ready, run.config.training, run.folder)
    train(run)
    if is_first_process():
        _print(
            run.history[
                [
                    "epoch",
                    "train_loss",
                    "valid_loss",
                    "macro_f1",
                    "macro_auroc",
                    "seconds",
                ]
            ]
        )


def _add_predict(commands: Any) -> None:
    command = add_command(
        commands, "predict", _predict, "predict recordings with a trained model"
    )
    command.add_argument(
        "files",
        nargs="+",
        help="recordings (WFDB, MATLAB, CSV or NumPy files), or folders with such in or below them",
    )
    command.add_argument(
        "--run",
        default="latest",
        help="name of a run, folder of a bundle, or a checkpoint (default: latest run)",
    )
    command.add_argument(
        "--fs", type=float, help="rate in Hz, for files that do not state it"
    )
    command.add_argument(
        "--units", help="units such as uV, for files that do not state them"
    )
    command.add_argument(
        "--windows",
        action="store_true",
        help="show the windows that the model saw, too",
    )
    command.add_argument(
        "--out",
        metavar="FOLDER",
        help="write tables and a record of the inference to this folder",
    )
    command.add_argument(
        "--embeddings",
        action="store_true",
        help="with --out: also the embedding of each window",
    )
    command.add_argument("--csv", help="write the table to this file")
    command.add_argument(
        "--json", action="store_true", help="print JSON in place of a table"
    )


def _predict(options: argparse.Namespace) -> None:
    from ecgnb.core.files import write_csv
    from ecgnb.stages.predict import infer_recordings, predict

    if options.embeddings and not options.out:
        raise ConfigError(
            "--embeddings writes embeddings.npy beside its windows.csv: add --out FOLDER."
        )
    where = {"run": options.run, "fs": options.fs, "units": options.units}
    shown = {}
    with redirect_stdout(sys.stderr):  # what is told on the way is no part of the table
        if options.out or options.windows:
            found = infer_recordings(
                options.files, embeddings=options.embeddings, **where
            )
            table, shown = (
                found.table,
                {"windows": found.windows} if options.windows else {},
            )
            if options.out:
                size = (
                    ""
                    if found.embeddings is None
                    else f", embeddings {' x '.join(map(str, found.embeddings.shape))}"
                )
                print(f"results in {found.save(options.out)}{size}")
        else:
            table = predict(options.files, **where)
    if options.csv:
        write_csv(options.csv, table)
    _print_tables({"recordings": table, **shown}, options.json)
    if (table["problem"].fillna("") != "").all():
        raise EcgnbError(
            "None of the recordings could be used; the column `problem` says why."
        )


def _print_tables(tables: dict[str, pd.DataFrame], as_json: bool) -> None:
    """Print one table, or several below each other; as JSON a list of rows, or an
    object of such lists.
    """
    if not as_json:
        print(
            "\n\n".join(
                text_table(_narrow(table), terminal_width())
                for table in tables.values()
            )
        )
        return
    rows = {
        name: json.loads(table.to_json(orient="records"))
        for name, table in tables.items()
    }
    print(
        json.dumps(
            rows if len(rows) > 1 else rows["recordings"], indent=2, ensure_ascii=False
        )
    )


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Put the highest probabilities in the place of many; --json, --csv and --out have
    all of them.
    """
    told = (
        "record_id",
        "prediction",
        "window",
        "start_s",
        "end_s",
        "seconds",
        "flags",
        "problem",
    )
    classes = [name for name in table.columns if name not in told]
    if len(classes) <= _MOST_CLASSES:
        return table

    def highest(row: pd.Series) -> str:
        best = row.dropna().astype(float).nlargest(_HIGHEST)
        return ", ".join(f"{name} {value:.3f}" for name, value in best.items())

    narrow = table.drop(columns=[*classes, *({"prediction"} & set(table.columns))])
    narrow.insert(
        1,
        f"highest {_HIGHEST} of {len(classes)}",
        table[classes].apply(highest, axis=1),
    )
    return narrow


def _add_data_commands(commands: Any) -> None:
    download = add_command(
        commands, "download", _download, "fetch a public data set from PhysioNet"
    )
    download.add_argument(
        "name", help="data set, such as ptbxl; `ecgnb available` lists them"
    )
    download.add_argument(
        "folder", nargs="?", help="where it goes (default: data/<name>)"
    )
    mapping = add_command(
        commands,
        "mapping",
        _mapping,
        "write unified_label_mapping.csv for a known data set",
    )
    mapping.add_argument("name", help="data set, such as cinc2017")
    mapping.add_argument("folder", help="folder of the data set")
    mapping.add_argument(
        "output",
        nargs="?",
        default="unified_label_mapping.csv",
        help="the file (default: here)",
    )
    mapping.add_argument(
        "--label-set", default="unified", help="label set (default: unified)"
    )
    demo = add_command(
        commands,
        "demo",
        _demo,
        "generate synthetic recordings as WFDB files with labels",
    )
    demo.add_argument("folder")
    demo.add_argument("--records", type=int, default=1000)
    demo.add_argument("--seed", type=int, default=0)


def _download(options: argparse.Namespace) -> None:
    from ecgnb.data.catalog.download_dataset import download

    print(download(options.name, Path(options.folder or Path("data") / options.name)))


def _mapping(options: argparse.Namespace) -> None:
    from ecgnb.data.catalog import build_mapping

    print(
        build_mapping(
            options.name,
            Path(options.folder),
            Path(options.output),
            label_set=options.label_set,
        )
    )


def _demo(options: argparse.Namespace) -> None:
    from ecgnb.data.demo.cohort_files import DemoConfig, make_demo

    print(
        make_demo(
            Path(options.folder),
            DemoConfig(n_records=options.records, seed=options.seed),
        )
    )


def _add_looking_commands(commands: Any) -> None:
    check = add_command(
        commands,
        "preflight",
        _preflight,
        "check data, labels, disk, GPU and versions before a run",
    )
    _add_parameters(check)
    add_command(
        commands,
        "parameters",
        _list_parameters,
        "list all parameters with their resolved values",
    )
    add_command(
        commands,
        "available",
        _available,
        "list models, data sets, transforms and readers",
    )
    add_command(commands, "runs", _runs, "list the runs of this project")
    inspect = add_command(commands, "inspect", _inspect, "show what is in a recording")
    inspect.add_argument("file")
    inspect.add_argument(
        "--fs", type=float, help="rate in Hz, for files that do not state it"
    )
    inspect.add_argument(
        "--units", help="units such as uV, for files that do not state them"
    )


def _preflight(options: argparse.Namespace) -> None:
    from ecgnb.core.compatibility import refuse_broken

    refuse_broken()  # before anything is imported that may not even import
    from ecgnb.run.config import RunConfig
    from ecgnb.run.preflight import preflight
    from ecgnb.run.run import Run
    from ecgnb.run.session import project_root

    _print(
        preflight(Run(project_root(), RunConfig.from_parameters(_parameters(options))))
    )


def _list_parameters(_: argparse.Namespace) -> None:
    from ecgnb.run.config import RunConfig

    for name, value in RunConfig.from_parameters({}).parameters().items():
        print(f"{name:<26} {json.dumps(value, ensure_ascii=False)}")


def _available(_: argparse.Namespace) -> None:
    from ecgnb import available

    _print(available())


def _runs(_: argparse.Namespace) -> None:
    from ecgnb.run.session import list_runs

    _print(list_runs())


def _inspect(options: argparse.Namespace) -> None:
    from ecgnb.data.readers.reading import read_recording

    recording = read_recording(options.file, fs=options.fs, units=options.units)
    print(recording)
    for name, value in recording.metadata.items():
        print(f"{name:<18} {value}")


def _print(table: pd.DataFrame) -> None:
    print(text_table(table))


if __name__ == "__main__":
    sys.exit(main())
