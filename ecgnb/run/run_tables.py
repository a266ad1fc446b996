"""Tables of a run: read from its files, joined, and shown in a notebook."""

from __future__ import annotations

import functools
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ecgnb.core.console import html_table
from ecgnb.core.csv_cells import restore_cells
from ecgnb.core.errors import StageError

if TYPE_CHECKING:
    import pandas as pd

    from ecgnb.run.run import Run


def read_table_of_run(file: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table; columns in ``text`` stay text, with empty cells as ""."""
    import pandas as pd

    table = pd.read_csv(
        file,
        dtype=dict.fromkeys(text, "str"),
        keep_default_na=not text,  # a class may be called "NA" or "None"
        encoding="utf-8",
    )
    return restore_cells(table)


def with_labels(records: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return prepared records with label and path of the cohort.

    Raises:
        StageError: a record is not in the cohort any more.
    """
    # Paths come from the manifest, too: recordings may have moved after the store was
    # written.
    labels = manifest[["dataset", "record_id", "path", "label"]]
    joined = records.drop(columns="path").merge(
        labels, on=["dataset", "record_id"], how="left", validate="one_to_one"
    )
    unknown = joined.loc[joined["label"].isna(), "record_id"]
    if len(unknown):
        raise StageError(
            f"{len(unknown)} prepared recordings, such as {unknown.iloc[0]}, are not "
            "in the cohort any more. Run again: ecgnb.prepare(run)"
        )
    return joined


def run_html(run: Run) -> str:
    """Return name, stages and parameters of a run for a notebook; defaults are folded
    away.
    """
    parameters = run.config.table()
    as_json = functools.partial(json.dumps, ensure_ascii=False)
    parameters["value"] = parameters["value"].map(as_json)
    is_default = parameters["source"] == "default"
    chosen = parameters.loc[~is_default, ["parameter", "value", "source"]]
    defaults = parameters.loc[is_default, ["parameter", "value"]]
    return (
        f"<h4>Run {html.escape(run.name)}</h4>"
        f"{html_table(run.stages_table())}"
        "<p><b>Parameters that differ from their defaults</b></p>"
        f"{html_table(chosen)}"
        f"<details><summary>{len(defaults)} defaults</summary>"
        f"{html_table(defaults)}</details>"
    )
