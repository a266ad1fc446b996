from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.deploy.bundle_folder import load_bundle
from ecgnb.stages.bundling import make_bundle


def test_a_run_becomes_a_bundle_with_the_same_weights(
    finished_run, tmp_path: Path
) -> None:
    assert make_bundle(finished_run, tmp_path / "copy") is None
    copy, original = (
        load_bundle(tmp_path / "copy"),
        load_bundle(finished_run.path("bundle")),
    )
    weights = original.model.state_dict()
    for name, value in copy.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert (copy.classes, copy.temperature) == (original.classes, original.temperature)


def test_what_does_not_fit_together_is_refused(finished_run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classes are the names of a checkpoint's"):
        make_bundle(finished_run, tmp_path, classes=("A", "B"))
    with pytest.raises(ConfigError, match="is compared with float32 on real record"):
        make_bundle(finished_run, tmp_path, precision="int8")
