from __future__ import annotations

import pytest

from ecgnb.cli.base import command
from ecgnb.cli.main import main
from ecgnb.core.errors import ConfigError

Capture = pytest.CaptureFixture[str]


def test_a_command_from_outside_is_listed_and_runs(capsys: Capture) -> None:
    @command()
    def hello() -> None:
        """Say hello to the laboratory."""
        print("hello, laboratory")

    assert main(["--help"]) == 0
    assert "hello       Say hello to the laboratory." in capsys.readouterr().out
    assert main(["hello"]) == 0
    assert capsys.readouterr().out == "hello, laboratory\n"


def test_a_name_in_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="'runs' is registered already"):
        command("runs")(lambda: None)
