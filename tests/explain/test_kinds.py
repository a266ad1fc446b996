"""Kinds of operations that modules declare."""

from __future__ import annotations

import pytest
from explain_fakes import signals
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.explain import lrp_z


def test_declared_relevance_must_be_known():
    class Strange(nn.Identity):
        relevance = "lineer"

    with pytest.raises(
        ConfigError,
        match=r"Strange.relevance is 'lineer'; choose one of linear, rearrange",
    ):
        lrp_z(
            nn.Sequential(Strange(), nn.Flatten(), nn.Linear(32, 2)).double(), signals()
        )
