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
        ({"temperature": 0.0}, "a number above 0"),
        ({"thresholds": (0.5,) * 3}, "give a probability for each"),
        ({"thresholds": (1.5,) * 17}, "give a probability for each"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(bundle, **changes)
