"""Tables of a run: text stays text, labels follow the cohort, names are escaped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ecgnb.core.errors import StageError
from ecgnb.run.run_tables import read_table_of_run, run_html, with_labels


def test_a_class_called_na_stays_text(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("label,score\nNA,0.5\n,1\n", encoding="utf-8")
    table = read_table_of_run(file, ("label",))
    assert table["label"].tolist() == ["NA", ""]
    assert table["score"].tolist() == [0.5, 1.0]


def test_prepared_records_get_label_and_path_of_the_cohort() -> None:
    records = pd.DataFrame({"dataset": "d", "record_id": ["b", "a"], "path": "old"})
    manifest = pd.DataFrame(
        {
            "dataset": "d",
            "record_id": ["a", "b"],
            "path": ["A", "B"],
            "label": ["x", "y"],
        }
    )
    joined = with_labels(records, manifest)
    assert joined[["path", "label"]].to_numpy().tolist() == [["B", "y"], ["A", "x"]]
    with pytest.raises(StageError, match="1 prepared recordings, such as b, are not"):
        with_labels(records, manifest.head(1))


def test_a_notebook_shows_name_stages_and_chosen_parameters(finished_run) -> None:
    page = run_html(finished_run)
    assert f"<h4>Run {finished_run.name}</h4>" in page
    assert "PREPROCESS_LIMIT" in page.partition("<details>")[0]
    assert "DROPOUT" not in page.partition("<details>")[0]
