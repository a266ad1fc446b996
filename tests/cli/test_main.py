from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecgnb.cli.base import command, ecgnb_command
from ecgnb.cli.main import main
from ecgnb.core.errors import ConfigError, EcgnbError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def commands_of_this_test() -> Iterator[None]:
    """Remove the commands that a test registers."""
    before = dict(ecgnb_command.commands)
    yield
    ecgnb_command.commands.clear()
    ecgnb_command.commands.update(before)


def test_help_lists_every_command_and_each_has_its_own(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name in ecgnb_command.commands:
        assert f"\n  {name} " in page
        assert main([name, "--help"]) == 0
        assert f"ecgnb {name}" in capsys.readouterr().out
    expected = "run train predict download mapping demo preflight parameters available "
    expected += "runs inspect port checkpoint bundle push"
    assert set(expected.split()) == set(ecgnb_command.commands)


def test_exit_codes(capsys: Capture) -> None:
    @command()
    def fail() -> None:
        raise EcgnbError("the disk is full")

    @command()
    def misuse() -> None:
        raise ConfigError("EPOCHS is -1")

    @command()
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert [main([name]) for name in ("fail", "misuse", "interrupt")] == [1, 2, 130]
    assert capsys.readouterr().err.strip().splitlines() == [
        "ecgnb: the disk is full",
        "ecgnb: EPOCHS is -1",
        "",
        "ecgnb: stopped; the same command continues where it was interrupted.",
    ]
    assert main(["nonsense"]) == main(["train", "--epoch"]) == 2
    assert main(["--version"]) == 0
