"""Every cell of the master notebook in a kernel of its own: whatever it needs is read
back from the run's folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from ecgnb.run import run as runs

MASTER = Path(__file__).resolve().parents[2] / "notebooks" / "master_pipeline.ipynb"
SOURCES = [
    cell.source
    for cell in nbformat.read(MASTER, as_version=4).cells
    if cell.cell_type == "code"
]
#: Files that are written anew whenever their cell is run.
WRITTEN_ANEW = {"report.html", "report.json", "environment.json"}

pytestmark = pytest.mark.notebook


def is_stage(source: str) -> bool:
    """Tell the cells that do something from those that show something."""
    is_other_profile = re.search(r'when="(medium|full)"', source)
    return (
        "import ecgnb" in source
        and "ecgnb.show." not in source
        and not is_other_profile
    )


#: How each stage is called, in order.
CALLS = [stage.call for stage in runs.STAGES.values()]
STAGES = [source for source in SOURCES if is_stage(source)]
OTHERS = [source for source in SOURCES if not is_stage(source)]


@pytest.fixture(scope="module")
def stage_outputs(kernels) -> dict[str, list]:
    """Outputs of the stage cells, each run in a fresh kernel, in the notebook's
    order."""
    return {source: kernels.run(source)[0].outputs for source in STAGES}


def call_of(text: str) -> str:
    """Return ``train`` for ``ecgnb.train(run)``."""
    return text.removeprefix("ecgnb.").removesuffix("(run)")


def times(home: Path) -> dict[Path, int]:
    """When each result was written; figures and logs are not results."""
    files = (path for path in (home / "artifacts").rglob("*") if path.is_file())
    return {
        path: path.stat().st_mtime_ns for path in files if path.name not in WRITTEN_ANEW
    }


def test_the_stage_cells_run_in_fresh_kernels(stage_outputs: dict[str, list]) -> None:
    calls = dict.fromkeys(re.findall(r"ecgnb\.(\w+)\(", "\n".join(STAGES)))
    assert set(calls) == {
        "open_run",
        "environment_report",
        "preflight",
        "predict",
        *(call_of(call) for call in CALLS),
    }
    for source, outputs in stage_outputs.items():
        assert [
            output for output in outputs if output.output_type == "execute_result"
        ], source
        assert not [
            output.text for output in outputs if output.get("name") == "stderr"
        ], source


def test_fresh_kernels_give_what_one_process_gives(
    stage_outputs: dict[str, list], kernels, finished_run
) -> None:
    (folder,) = (
        path.parent
        for path in (kernels.home / "artifacts" / "runs").glob("*/config.json")
    )
    assert folder.name == finished_run.name
    predictions = pd.read_csv(folder / "predictions.csv")
    assert list(predictions["record_id"]) == list(finished_run.predictions["record_id"])
    logits = [column for column in predictions if column.startswith("logit_")]
    # one thread there and several here may add up in another order
    np.testing.assert_allclose(
        predictions[logits], finished_run.predictions[logits], atol=1e-4
    )
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["headline"] == pytest.approx(
        finished_run.metrics["headline"], abs=1e-3
    )
    assert metrics["temperature"] == pytest.approx(
        finished_run.metrics["temperature"], rel=1e-3
    )


def test_stage_cells_in_reverse_order_change_nothing(
    stage_outputs: dict[str, list], kernels
) -> None:
    before = times(kernels.home)
    cells = []
    for source in reversed(STAGES):
        if "globals()" not in source:
            cells += [source, "%reset -f"]
    shown = dict(zip(cells[::2], kernels.run(*cells)[::2], strict=True))
    assert times(kernels.home) == before
    for call in [*CALLS[:-1], "ecgnb.predict(run"]:
        (source,) = (source for source in shown if call.removesuffix(")") in source)
        assert tables(shown[source].outputs) == tables(stage_outputs[source]), source


def tables(outputs: list) -> list[str]:
    return [
        output.data["text/plain"]
        for output in outputs
        if output.output_type == "execute_result"
    ]


@pytest.mark.slow
def test_the_other_cells_run_after_a_restart_in_any_order(
    stage_outputs: dict[str, list], kernels
) -> None:
    """All share a kernel that forgets everything between two cells, the run included."""
    before = times(kernels.home)
    forget = "%reset -f\nfrom ecgnb.run import session\nsession._opened = None"
    cells = []
    for source in reversed(OTHERS):
        cells += [source, forget]
    executed = dict(zip(cells[::2], kernels.run(*cells)[::2], strict=True))
    for source in OTHERS:
        if "ecgnb.show." not in source:
            continue
        outputs = executed[source].outputs
        streams = [out.text for out in outputs if out.output_type == "stream"]
        assert "".join(streams).startswith("Going on with run demo-smoke-"), (
            "a restarted kernel names the run that it opened"
        )
        kinds = {output.output_type for output in outputs} - {"stream"}
        figure = set() if "show.model" in source else {"display_data"}
        assert kinds == {"execute_result"} | figure, source
    assert times(kernels.home) == before
    figures = (kernels.home / "figures").rglob("*_*.*")
    assert {path.suffix for path in figures} == {".png", ".svg"}
