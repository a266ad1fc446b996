"""Click group of the `ecgnb` command; decorators and output that its commands share.

A command is one function in a module of this package, registered by `command`; the
modules are found by themselves. Commands import what is slow inside the function, so
that ``ecgnb --help`` needs neither torch nor pandas.
"""

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ecgnb import __version__
from ecgnb.core.console import terminal_width, text_table
from ecgnb.core.errors import ConfigError
from ecgnb.core.parameters import choices_of
from ecgnb.run.config import parameter_help, parameter_types

if TYPE_CHECKING:
    import pandas as pd


class CommandGroup(click.Group):
    """Group that refuses two commands of one name, where click keeps the last."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; one with a name that is in use is a `ConfigError`."""
        name = name or cmd.name
        if name in self.commands:
            raise ConfigError(
                f"The command {name!r} is registered already. Give the new one another "
                "name."
            )
        super().add_command(cmd, name)


@click.group(
    "ecgnb",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="ecgnb %(version)s")
def ecgnb_command() -> None:
    """Deep learning on electrocardiograms."""


#: Decorator that makes a function a command: ``@command()``, ``@command("name")``. The
#: docstring is its help, the parameters of the function are its options.
command = ecgnb_command.command
#: The same for a group of commands, such as ``ecgnb port``.
group = ecgnb_command.group

#: Option ``--json`` of commands that print a table, passed as ``as_json``.
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON in place of a table."
)
#: Options of commands that read recordings.
fs_option = click.option(
    "--fs", type=float, help="Rate in Hz, for files that do not state it."
)
units_option = click.option(
    "--units", help="Unit such as uV, for files that do not state it."
)

#: How the help writes the value of a parameter, by its type.
_METAVARS = {
    str: "TEXT",
    int: "INTEGER",
    float: "NUMBER",
    bool: "TRUE|FALSE",
    tuple: "LIST",
    dict: "JSON",
}


class ParameterCommand(click.Command):
    """Command that lists the options of run parameters in a section of their own."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the section "Options", then "Run parameters"."""
        options, parameters = [], []
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            # The docstring explains the arguments.
            if record is None or not isinstance(option, click.Option):
                continue
            if str(option.name).upper() in parameter_types():
                parameters.append(record)
            else:
                options.append(record)
        for title, records in (("Options", options), ("Run parameters", parameters)):
            with formatter.section(title):
                formatter.write_dl(records)


class VariadicCommand(click.Command):
    """Command whose repeated options take several values: ``--classes NORM AF``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write each further value as ``--classes VALUE``, then parse as usual."""
        repeated = set()  # click takes one value per option: --classes A --classes B
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.multiple:
                repeated |= set(parameter.opts)
        expanded: list[str] = []
        option = ""
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in repeated else ""
            elif option and expanded[-1] != option:
                expanded.append(option)
            expanded.append(argument)
        return super().parse_args(ctx, expanded)


def run_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: add an option for every run parameter, named as in the configuration.

    The function receives those that were set as ``parameters``, by their upper-case
    names; values stay text, which `RunConfig` converts. ``-p NAME VALUE`` sets a
    parameter by its name, also one that only another notebook has.
    """
    types = parameter_types()

    @functools.wraps(function)
    def with_parameters(parameter: Iterable[tuple[str, str]], **options: Any) -> Any:
        values = {name: options.pop(name.lower()) for name in types}
        chosen = {name: value for name, value in values.items() if value is not None}
        return function(parameters={**chosen, **dict(parameter)}, **options)

    decorated: Any = with_parameters
    # click lists options in the reverse order of their decorators.
    for name, hint in reversed(types.items()):
        decorated = _parameter_option(name, hint)(decorated)
    return click.option(
        "-p",
        "--parameter",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="A parameter by its name; `ecgnb parameters` lists them.",
    )(decorated)


def _parameter_option(name: str, hint: Any) -> Callable[..., Any]:
    choices = choices_of(hint)
    return click.option(
        f"--{name.lower().replace('_', '-')}",
        name.lower(),
        type=click.Choice(choices) if choices else str,
        metavar=None if choices else _METAVARS[typing.get_origin(hint) or hint],
        help=parameter_help()[name],
    )


def print_table(table: pd.DataFrame, as_json: bool = False) -> None:
    """Print a table as wide as the terminal, or as a JSON list of its rows."""
    if as_json:
        print_json(table_rows(table))
    else:
        print(text_table(table, terminal_width()))


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain JSON values; NaN becomes None."""
    return json.loads(table.to_json(orient="records"))


def print_json(value: dict[str, Any] | Sequence[Any]) -> None:
    """Print a value as JSON, for other programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
