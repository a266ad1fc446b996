"""`ecgnb checkpoint`: what is in a checkpoint of others; a thin shell over `ecgnb.checkpoints`."""

from __future__ import annotations

import argparse
from typing import Any

from ecgnb.console import add_command


def add_model_commands(commands: Any) -> None:
    """Add ``checkpoint`` and its own commands to the shell."""
    text = "look into PyTorch checkpoints of others, without executing anything in them"
    checkpoint = commands.add_parser("checkpoint", help=text, description=text[0].upper() + text[1:] + ".")
    below = checkpoint.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_inspect(below)


def _add_inspect(commands: Any) -> None:
    command = add_command(
        commands, "inspect", _inspect, "show tensors, configuration and what loading the file would have run"
    )
    command.add_argument("file", metavar="FILE", help=".pt, .pth, .ckpt, .bin or .safetensors")
    command.add_argument("--tensors", action="store_true", help="list all tensors, not only the first")


def _inspect(options: argparse.Namespace) -> None:
    from ecgnb.checkpoints.inspection import inspect_checkpoint

    print(inspect_checkpoint(options.file).text(all_tensors=options.tensors))
