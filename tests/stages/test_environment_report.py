from __future__ import annotations

from pathlib import Path

import torch

import ecgnb
from ecgnb.core.environment import package_version
from ecgnb.core.files import read_json


def test_the_report_names_what_a_result_depends_on(finished_run, tmp_path) -> None:
    run = finished_run
    table = ecgnb.environment_report(run).set_index("what")["value"]
    assert table["torch"] == torch.__version__
    assert (table["run"], table["project"]) == (run.name, str(run.root))
    assert table["code"] == str(Path(ecgnb.__file__).resolve().parents[1])
    assert read_json(run.path("environment.json"))["packages"][
        "numpy"
    ] == package_version("numpy")
    run.path("environment.json").unlink()


def test_available_lists_every_registry() -> None:
    table = ecgnb.available()
    assert set(table["kind"]) == {
        "data set",
        "reader",
        "transform",
        "model",
        "objective",
        "callback",
        "explainer",
        "figure",
    }
    assert (table["about"] != "").all()
    assert set(ecgnb.available("model")["name"]) >= {"resnet1d", "xresnet1d101"}
