"""The architecture of a checkpoint: what its shapes and its configuration tell, and
what is refused."""

from __future__ import annotations

import pytest

from ecgnb.core.errors import CheckpointError
from ecgnb.foundation.ecg_fm_config import parse_conv_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("[(256, 2, 2)] * 4", [(256, 2, 2)] * 4),
        ("[(48, 5, 3)] + [(48, 3, 2)] * 2", [(48, 5, 3), (48, 3, 2), (48, 3, 2)]),
        ("[(8, 3, 1), (8, 3, 2)]", [(8, 3, 1), (8, 3, 2)]),
    ],
)
def test_convolutions_are_parsed(text, layers):
    assert parse_conv_layers(text) == layers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[(256, 2)] * 4",
        "[(256, 2, 0)]",
        "[(256, 2, True)]",
        "[(1, 2, 3)] * 10**9",
        "[(1, 2, 3)] * 65",
        "[(1, 2, 3)] * 9 * 9 * 9 * 9",
        "__import__('os').system('echo')",
        "(lambda: [(1, 2, 3)])()",
        "[(x, 2, 2)]",
        "'a' * 4",
        "(" * 900,
        "[(256, 2, 2)] * '4'",
    ],
)
def test_other_text_is_refused_and_never_run(text):
    with pytest.raises(CheckpointError, match="should list"):
        parse_conv_layers(text)
