"""Command `ecgnb predict`: predict recordings with a trained model."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from ecgnb.cli.base import (
    command,
    fs_option,
    json_option,
    print_json,
    print_table,
    table_rows,
    units_option,
)
from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.core.files import write_csv

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a prediction table that are no probability of a class.
_NOT_CLASSES = (
    "record_id",
    "prediction",
    "window",
    "start_s",
    "end_s",
    "seconds",
    "flags",
    "problem",
)
#: Classes whose probabilities fit into a terminal; of more, only the highest are shown.
_MOST_CLASSES, _HIGHEST = 8, 3


@command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--run",
    "run_name",
    default="latest",
    show_default=True,
    help="Name of a run, folder of a bundle, or a checkpoint.",
)
@fs_option
@units_option
@click.option("--windows", is_flag=True, help="Also show the windows of each file.")
@click.option("--out", metavar="FOLDER", help="Write tables and a record here.")
@click.option("--embeddings", is_flag=True, help="With --out: write embeddings.npy.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write the table to a file.")
@json_option
def predict(
    files: tuple[str, ...],
    run_name: str,
    windows: bool,
    out: str | None,
    embeddings: bool,
    csv_file: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Predict recordings with a trained model.

    FILES are recordings (WFDB, MATLAB, CSV or NumPy files), or folders with
    recordings in or below them.
    """
    from ecgnb.stages import predict as stage

    if embeddings and not out:
        raise ConfigError(
            "--embeddings writes embeddings.npy beside its windows.csv: add --out "
            "FOLDER."
        )
    tables = {}
    with redirect_stdout(sys.stderr):  # progress lines are no part of the table
        model = stage.open_model(run_name)
        recordings = stage.files_in_folders(files)
        if not out and not windows:
            table = model.predict(recordings, **reading)
        else:
            inference = model.infer(recordings, embeddings=embeddings, **reading)
            table = inference.table
            if windows:
                tables["windows"] = inference.windows
            if out:
                print(f"results in {inference.save(out)}")
    if csv_file:
        write_csv(csv_file, table)
    if not as_json:  # rows of JSON have both
        print(model.title)
        names = {"run", "model"} - set(model.bundle.classes)
        table = table.drop(columns=list(names))
    _print_tables({"recordings": table, **tables}, as_json)
    if (table["problem"].fillna("") != "").all():
        raise EcgnbError(
            "None of the recordings could be used; the column `problem` has the reason."
        )


def _print_tables(tables: dict[str, pd.DataFrame], as_json: bool) -> None:
    """Print the tables below each other; as JSON, one table is a list of rows and more
    are an object of such lists.
    """
    if as_json:
        rows = {name: table_rows(table) for name, table in tables.items()}
        print_json(rows if len(rows) > 1 else rows["recordings"])
        return
    for name, table in tables.items():
        if name != "recordings":
            print()
        print_table(_highest_probabilities(table))


def _highest_probabilities(table: pd.DataFrame) -> pd.DataFrame:
    """Replace the probabilities of many classes by the highest ones."""
    classes = [name for name in table.columns if name not in _NOT_CLASSES]
    if len(classes) <= _MOST_CLASSES:
        return table

    def highest(row: pd.Series) -> str:
        best = row.dropna().astype(float).nlargest(_HIGHEST)
        return ", ".join(f"{name} {value:.3f}" for name, value in best.items())

    title = f"highest {_HIGHEST} of {len(classes)}"
    narrow = table.drop(columns=[*classes, "prediction"], errors="ignore")
    # beside the name of the recording
    narrow.insert(1, title, table[classes].apply(highest, axis=1))
    return narrow
