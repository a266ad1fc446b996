"""Commands `ecgnb port`: inspect, convert and verify Keras models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ecgnb.cli.base import group, json_option, print_json, print_table, table_rows
from ecgnb.core.console import filled, terminal_width
from ecgnb.core.errors import ConfigError, PortError
from ecgnb.core.files import atomic_write

_TABLE_NOTE = (
    "max|d|: largest difference; relative: to the layer's scale; float64: the port "
    "from itself in float64."
)

weights_option = click.option(
    "--weights",
    metavar="FILE",
    help="The weights of a model.json (default: beside it).",
)


reference_option = click.option(
    "--reference", metavar="GOLDEN.npz", help="Outputs of Keras, from a file."
)

python_option = click.option(
    "--python",
    metavar="PYTHON",
    help="Interpreter that has Keras, to run the file in (verify: default "
    "ECGNB_KERAS_PYTHON, then this one).",
)


def _refuse_both(reference: str | None, python: str | None) -> None:
    if reference and python:
        raise ConfigError("Give --reference or --python, not both.")


@group()
def port() -> None:
    """Convert Keras models to PyTorch, without Keras or TensorFlow."""


@port.command("inspect")
@click.argument("files", nargs=-1, required=True)
@weights_option
@click.option(
    "--dump",
    nargs=2,
    metavar="LAYER OUT.npz",
    help="Write the arrays of one layer under their Keras names.",
)
@json_option
def inspect_files(
    files: tuple[str, ...],
    weights: str | None,
    dump: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Show layers, shapes, parameters and what the file does not contain.

    FILES are .keras, whole .h5, or model.json.
    """
    from ecgnb.port.inspection.inspect_keras import dump_weights, inspect_keras

    if len(files) > 1 and (weights or dump):
        raise ConfigError(
            "--weights and --dump are for one file; inspect the others without them."
        )
    if dump:
        layer, out = dump
        print(dump_weights(files[0], layer, out, weights=weights))
        return
    inspections, problems = [], []
    for file in files:
        try:
            inspections.append(inspect_keras(file, weights))
        except PortError as error:
            problems.append(str(error))
    if as_json:
        print_json(
            [{**item.summary, "layers": table_rows(item.table)} for item in inspections]
        )
    else:
        print("\n\n".join(map(str, inspections)))
    if problems:  # after the files that could be read were shown
        raise PortError("\n".join(problems))


@port.command()
@click.argument("file")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="Gets model.py, model.safetensors, port.json and report.html.",
)
@weights_option
@click.option(
    "--input-layout",
    type=click.Choice(["NTC", "NCT"]),
    default="NTC",
    show_default=True,
    help="Axes of the signal: batch, time, channel as in Keras, or channel before "
    "time.",
)
@reference_option
@python_option
@click.option(
    "--contract",
    metavar="NAME|FILE",
    help="Rate, leads, units, filters and classes: a known one such as "
    "pathology_avb, or a JSON file.",
)
@click.option(
    "--class-name", default="Model", show_default=True, help="Class in model.py."
)
@click.option("--notes", default="", help="Licence and attribution of the weights.")
def convert(
    file: str, out: str, reference: str | None, python: str | None, **options: Any
) -> None:
    """Write a Keras model as a folder with a PyTorch model.

    FILE is .keras, whole .h5, or model.json.
    """
    from ecgnb.port.convert import convert as convert_model
    from ecgnb.port.proof.reference import Reference

    _refuse_both(reference, python)
    expected: Any = reference  # a file, a `Reference` or nothing
    if python:
        expected = Reference.from_keras(file, weights=options["weights"], python=python)
    conversion = convert_model(file, out, reference=expected, **options)
    for name in ("model.py", "model.safetensors", "port.json", "report.html"):
        print(conversion.folder / name)
    if conversion.comparison is None:
        print(
            "\nNot compared with Keras: --reference names a file of its outputs, "
            "--python an interpreter that has it."
        )
        return
    print("\n" + filled(str(conversion.comparison), terminal_width()))
    conversion.comparison.raise_if_failed()  # the folder is kept to look into


@port.command()
@click.argument("path")
@weights_option
@reference_option
@python_option
@click.option("--plot", metavar="OUT.png", help="Draw the difference of every layer.")
@json_option
def verify(
    path: str,
    weights: str | None,
    reference: str | None,
    python: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    """Compare a port with Keras: every layer, logits, outputs and input gradients.

    PATH is a Keras file, or a folder that `ecgnb port convert` wrote.
    """
    from ecgnb.port.convert_report import differences
    from ecgnb.port.port_folder import is_port, load_port
    from ecgnb.port.ported import port_keras
    from ecgnb.port.proof.compare import compare
    from ecgnb.port.proof.reference import Reference

    _refuse_both(reference, python)
    if is_port(path):
        if not reference:
            raise ConfigError(
                f"{path} holds a port, which Keras cannot run. Give --reference, or "
                "verify the Keras file itself."
            )
        model = load_port(path)
    else:
        model = port_keras(path, weights=weights)
    expected = reference or Reference.from_keras(path, weights=weights, python=python)
    comparison = compare(model, expected)
    if as_json:
        print_json({"passed": comparison.passed, "rows": table_rows(comparison.table)})
    else:
        table = differences(comparison.table)
        print_table(table.drop(columns=["class", "reference"]))
        width = terminal_width()
        print(filled(_TABLE_NOTE, width), end="\n\n")
        print(filled(str(comparison), width))
    if plot:
        _save_figure(comparison.plot(), Path(plot))
        click.echo(plot, err=as_json)  # standard output holds nothing but the JSON
    if not comparison.passed:
        raise PortError(
            f"The port of {path} does not agree with its reference; see above."
        )


def _save_figure(figure: Any, path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--plot writes PNG; {path.name!r} does not end in .png.")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)  # dots per inch
