from __future__ import annotations

import dataclasses

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.deploy.opening import open_bundle
from ecgnb.foundation.recipe import MIMIC


def test_a_bundle_that_contradicts_its_model_is_refused(small) -> None:
    bundle = open_bundle(small)
    for changes, message in (
        ({"classes": tuple(MIMIC)[:16], "aggregate": ("mean",) * 16}, "17 outputs"),
        ({"classes": (*tuple(MIMIC)[:16], "Sinus rhythm")}, "must name each once"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"temperature": 0.0}, "a number from 0.001 to 1000"),
        ({"temperature": 1e-300}, "a number from 0.001 to 1000"),
        ({"temperature": float("nan")}, "a number from 0.001 to 1000"),
        ({"temperature": 10**400}, "a number from 0.001 to 1000"),
        ({"classes": (None, *tuple(MIMIC)[1:])}, "a name for each output"),
        ({"task": "multiclass"}, "task is 'multiclass', but its model was built for"),
        (
            {"prepare": dataclasses.replace(bundle.prepare, target_fs=250.0)},
            "target_fs is 250",
        ),
        ({"thresholds": (0.5,) * 3}, "give a probability for each"),
        ({"thresholds": (1.5,) * 17}, "give a probability for each"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(bundle, **changes)
