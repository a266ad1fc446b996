"""Entry point of the `ecgnb` command: exit codes and error messages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ecgnb.cli.base import ecgnb_command
from ecgnb.core.errors import ConfigError, EcgnbError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    try:
        # Not standalone: click returns or raises here in place of sys.exit.
        exit_code = ecgnb_command.main(
            arguments, prog_name="ecgnb", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        message = "stopped; the same command continues where it was interrupted."
        return _fail(message, exit_code=130)
    except ConfigError as error:
        return _fail(str(error), exit_code=2)
    except EcgnbError as error:
        return _fail(str(error), exit_code=1)
    return exit_code or 0


def _fail(message: str, exit_code: int) -> int:
    print(f"ecgnb: {message}", file=sys.stderr)
    return exit_code
