"""The published recipe and the names of the outputs."""

from __future__ import annotations

import pytest

from ecgnb.core.errors import ConfigError
from ecgnb.foundation.recipe import MIMIC, known_head


def test_the_mimic_head():
    head = known_head(17)
    assert (
        head.classes[0] == "Poor data quality"
        and head.classes[6] == "Atrial fibrillation"
    )
    assert head.classes[-1] == "Electronic pacemaker" and len(MIMIC) == 17
    largest = [
        name
        for name, how in zip(head.classes, head.aggregate, strict=True)
        if how == "max"
    ]
    assert largest == [
        "Poor data quality",
        "Premature ventricular contraction",
        "Ventricular tachycardia",
        "Supraventricular tachycardia with aberrancy",
        "Electronic pacemaker",
    ]


def test_the_physionet_head_is_in_the_order_of_the_challenges_weights():
    head = known_head(26)
    assert len(head.classes) == 26 and set(head.aggregate) == {"mean"}
    assert (
        head.classes[:6] == ("AF", "AFL", "BBB", "Brady", "CLBBB", "CRBBB")
        and head.classes[-1] == "TInv"
    )
    assert head.classes[10:13] == ("LPR", "LQRSV", "LQT")


def test_another_number_of_outputs_needs_names():
    with pytest.raises(
        ConfigError, match="5 outputs, and no checkpoint has their names"
    ):
        known_head(5)
