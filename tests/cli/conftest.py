"""Fixtures of the command-line tests."""

from __future__ import annotations

import pytest

from ecgnb.cli.base import ecgnb_command


@pytest.fixture(autouse=True)
def own_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the commands that a test registers."""
    monkeypatch.setattr(ecgnb_command, "commands", dict(ecgnb_command.commands))
