"""Commands about models as files: checkpoint inspect, bundle and push."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ecgnb.cli.base import (
    VariadicCommand,
    command,
    group,
    json_option,
    print_json,
    table_rows,
)


@group()
def checkpoint() -> None:
    """Inspect PyTorch checkpoints of others without executing anything in them."""


@checkpoint.command("inspect")
@click.argument("file")
@click.option("--tensors", is_flag=True, help="List all tensors, not only the first.")
@json_option
def inspect_checkpoint(file: str, tensors: bool, as_json: bool) -> None:
    """Show tensors, configuration and what loading the file would have executed.

    FILE is .pt, .pth, .ckpt, .bin or .safetensors, or owner/repository/file on the
    Hugging Face hub.
    """
    from ecgnb.foundation.ecg_fm_checkpoint import inspect_model

    inspection = inspect_model(file)
    if not as_json:
        print(inspection.text(all_tensors=tensors))
        return
    print_json(
        {
            **inspection.summary,
            "globals": table_rows(inspection.globals),
            "tensors": table_rows(inspection.tensors),
        }
    )


@command(cls=VariadicCommand)
@click.argument("model")
@click.option("--out", required=True, metavar="DIR", help="Folder of the bundle.")
@click.option(
    "--classes",
    multiple=True,
    metavar="NAME...",
    help="Names of a checkpoint's outputs, in order; windows are then averaged.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of the weights; a lower one is compared on --recordings and refused past "
    "--max-change.",
)
@click.option(
    "--recordings",
    multiple=True,
    metavar="FILE|DIR...",
    help="Real recordings, for a lower precision.",
)
@click.option(
    "--max-change",
    default=0.02,
    show_default=True,
    help="Of any probability, for a lower precision.",
)
def bundle(model: str, out: str, **options: Any) -> None:
    """Write any model as one folder that predicts anywhere, with a model card.

    MODEL is a run, the folder of a bundle or a port, a checkpoint of a foundation
    model, or owner/repository on the Hugging Face hub.
    """
    from ecgnb.stages.bundling import make_bundle

    report = make_bundle(model, out, **options)
    if report is not None:  # of a lower precision
        print(f"{report}\n")
    for name in ("bundle.json", "model.safetensors", "README.md"):
        print(Path(out) / name)


@command()
@click.argument("folder")
@click.argument("repository")
@click.option("--public", is_flag=True, help="Visible to everybody (default: private).")
@click.option(
    "--message", default="Bundle of ecgnb", show_default=True, help="Of the commit."
)
def push(folder: str, repository: str, public: bool, message: str) -> None:
    """Upload the bundle in FOLDER to the Hugging Face hub, with the token in HF_TOKEN.

    REPOSITORY is OWNER/NAME; it is created where it is missing.
    """
    from ecgnb.deploy.hub_bundles import push_to_hub

    print(push_to_hub(folder, repository, private=not public, message=message).url)
