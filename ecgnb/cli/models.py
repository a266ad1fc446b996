"""`ecgnb checkpoint`, `ecgnb bundle` and `ecgnb push`: models as files; a thin shell
over the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ecgnb.core.console import add_command


def add_model_commands(commands: Any) -> None:
    """Add ``checkpoint`` with its own commands, ``bundle`` and ``push`` to the
    shell.
    """
    text = "look into PyTorch checkpoints of others, without executing anything in them"
    checkpoint = commands.add_parser(
        "checkpoint", help=text, description=text[0].upper() + text[1:] + "."
    )
    below = checkpoint.add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )
    _add_inspect(below)
    _add_bundle(commands)
    _add_push(commands)


def _add_inspect(commands: Any) -> None:
    command = add_command(
        commands,
        "inspect",
        _inspect,
        "show tensors, configuration and what loading the file would have run",
    )
    kinds = (
        ".pt, .pth, .ckpt, .bin or .safetensors, or owner/repository/file on the hub"
    )
    command.add_argument("file", metavar="FILE", help=kinds)
    command.add_argument(
        "--tensors", action="store_true", help="list all tensors, not only the first"
    )


def _inspect(options: argparse.Namespace) -> None:
    from ecgnb.foundation.ecg_fm_checkpoint import inspect_model

    print(inspect_model(options.file).text(all_tensors=options.tensors))


def _add_bundle(commands: Any) -> None:
    command = add_command(
        commands,
        "bundle",
        _bundle,
        "write any model as one folder that predicts anywhere, with a model card",
    )
    command.add_argument(
        "source", metavar="MODEL",
        help="a run, folder of a bundle or a port, checkpoint of a foundation model, or owner/repository on the hub",
    )  # fmt: skip
    command.add_argument(
        "--out", required=True, metavar="DIR", help="where the bundle goes"
    )
    command.add_argument(
        "--classes", nargs="+", default=(), metavar="NAME",
        help="names of a checkpoint's outputs, in order; windows are then averaged",
    )  # fmt: skip
    command.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16", "int8"), default="float32",
        help="of the weights (default: float32); a lower one is compared on --recordings and refused past --max-change",
    )  # fmt: skip
    command.add_argument(
        "--recordings",
        nargs="+",
        default=(),
        metavar="FILE|DIR",
        help="real recordings, for a lower precision",
    )
    command.add_argument(
        "--max-change",
        type=float,
        default=0.02,
        help="of any probability, for a lower precision (default: 0.02)",
    )


def _bundle(options: argparse.Namespace) -> None:
    from ecgnb.stages.bundling import make_bundle

    report = make_bundle(
        options.source,
        options.out,
        classes=options.classes,
        precision=options.precision,
        recordings=options.recordings,
        max_change=options.max_change,
    )
    if report is not None:
        print(f"{report}\n")
    for name in ("bundle.json", "model.safetensors", "README.md"):
        print(Path(options.out) / name)


def _add_push(commands: Any) -> None:
    command = add_command(
        commands,
        "push",
        _push,
        "put a bundle on the Hugging Face hub; the token is HF_TOKEN's",
    )
    command.add_argument("folder", metavar="DIR", help="of a bundle")
    command.add_argument(
        "repository", metavar="OWNER/NAME", help="is made where it is missing"
    )
    command.add_argument(
        "--public",
        action="store_true",
        help="let everybody see it (default: its owner alone)",
    )
    command.add_argument("--message", default="Bundle of ecgnb", help="of the commit")


def _push(options: argparse.Namespace) -> None:
    from ecgnb.deploy.hub_bundles import push_to_hub

    done = push_to_hub(
        options.folder,
        options.repository,
        private=not options.public,
        message=options.message,
    )
    print(done.url)
