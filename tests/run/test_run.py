from __future__ import annotations

from pathlib import Path

import pytest

from ecgnb.core.errors import StageError
from ecgnb.run.config import RunConfig
from ecgnb.run.run import STAGES, Run, Stage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, RunConfig.from_parameters({"SEED": 1}, {"ECGNB_LR": "0.01"}))


def finish(run: Run, stage: str, inputs: str = "a") -> None:
    run.path(f"{stage}.txt").parent.mkdir(parents=True, exist_ok=True)
    run.path(f"{stage}.txt").write_text(inputs, encoding="utf-8")
    run.finish(stage, {"from": inputs}, files=[f"{stage}.txt"])


def states(run: Run) -> str:
    return " ".join(run.states().values())


def test_a_stage_of_another_version_is_not_done(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.finish("split", {"a": 1})
    monkeypatch.setitem(STAGES, "split", Stage("ecgnb.split(run)", 99))
    assert not run.is_done("split", {"a": 1})


def test_a_stage_is_done_for_its_inputs_only(run: Run) -> None:
    assert run.record("split") is None and not run.is_done("split", {"a": 1})
    with pytest.raises(
        StageError, match=r"Stage 'split' of run demo.* First run: ecgnb\.split\(run\)"
    ):
        run.require("split")
    run.finish("split", {"a": 1}, leaks=0)
    assert run.is_done("split", {"a": 1}) and not run.is_done("split", {"a": 2})
    assert run.require("split") == {"leaks": 0}


def test_a_stage_is_stale_when_a_stage_before_it_or_a_file_changed(run: Run) -> None:
    assert states(run) == "open open open open open open"
    for stage in ("cohort", "prepare", "split"):
        finish(run, stage)
    assert states(run) == "done done done open open open"
    finish(run, "cohort", "other")
    assert states(run) == "done stale stale open open open"
    finish(run, "prepare", "other")
    assert states(run) == "done done stale open open open"
    finish(run, "split", "other")
    run.path("prepare.txt").write_text("longer than before", encoding="utf-8")
    assert states(run) == "done stale stale open open open"


def test_a_stage_whose_inputs_stayed_the_same_is_done_again_without_work(
    run: Run,
) -> None:
    finish(run, "cohort")
    finish(run, "prepare")
    finish(run, "cohort", "labels changed, recordings did not")
    assert run.states()["prepare"] == "stale"
    assert run.is_done("prepare", {"from": "a"})
    assert run.states()["prepare"] == "done"


def test_tables_list_every_stage_and_parameter(run: Run) -> None:
    finish(run, "cohort")
    table = run.stages_table().set_index("stage")
    assert list(table.index) == list(STAGES)
    assert table.loc["cohort", "state"] == "done" and not table.loc["cohort", "call"]
    assert table.loc["train", "call"] == "ecgnb.train(run)"
    parameters = run.config.table()
    assert set(parameters["parameter"]) == set(run.config.parameters())
    first = parameters.set_index("parameter").iloc[:6]
    assert first.loc["SEED", "source"] == "notebook"
    assert first.loc["LR", "value"] == 0.01 and (first["source"] != "default").all()


def test_the_notebook_shows_stages_and_parameters_that_are_no_defaults(
    run: Run,
) -> None:
    config = RunConfig.from_parameters({"DATASET_DIR": "<data>"}, {})
    page = Run(run.root, config)._repr_html_()
    shown, folded = page.split("<details>")
    assert "DATASET_DIR" in shown and "&lt;data&gt;" in shown and "<data>" not in page
    assert "ecgnb.train(run)" in shown and "WEIGHT_DECAY" in folded
