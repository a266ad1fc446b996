"""`ecgnb port`: inspect, convert and verify Keras models; a thin shell over
`ecgnb.port`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgnb.core.console import add_command, filled, terminal_width, text_table
from ecgnb.core.errors import ConfigError, PortError

if TYPE_CHECKING:
    from ecgnb.port.proof.reference import Reference


def add_port_commands(commands: Any) -> None:
    """Add ``port`` and its own commands to the shell."""
    text = "bring Keras models to PyTorch, without Keras or TensorFlow"
    port = commands.add_parser(
        "port", help=text, description=text[0].upper() + text[1:] + "."
    )
    below = port.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_inspect(below)
    _add_convert(below)
    _add_verify(below)


def _add_inspect(commands: Any) -> None:
    command = add_command(
        commands,
        "inspect",
        _inspect,
        "show layers, shapes, parameters and what the file does not tell",
    )
    command.add_argument(
        "files", nargs="+", metavar="FILE", help=".keras, whole .h5, or model.json"
    )
    _add_weights(command)
    command.add_argument(
        "--dump",
        nargs=2,
        metavar=("LAYER", "OUT.npz"),
        help="write the arrays of one layer under their Keras names",
    )


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights",
        metavar="FILE",
        help="the weights of a model.json (default: beside it)",
    )


def _inspect(options: argparse.Namespace) -> None:
    from ecgnb.port.inspection.inspect_keras import dump_weights, inspect_keras

    if len(options.files) > 1 and (options.weights or options.dump):
        raise ConfigError(
            "--weights and --dump are for one file; inspect the others without them."
        )
    if options.dump:
        layer, out = options.dump
        print(dump_weights(options.files[0], layer, out, weights=options.weights))
        return
    failed = []
    for place, file in enumerate(options.files):
        print("" if place == 0 else "\n", end="")
        try:
            print(inspect_keras(file, options.weights))
        except PortError as error:
            failed.append(str(error))
    if failed:
        raise PortError("\n".join(failed))


def _add_convert(commands: Any) -> None:
    command = add_command(
        commands,
        "convert",
        _convert,
        "write a Keras model as a folder with a PyTorch model",
    )
    command.add_argument(
        "file", metavar="FILE", help=".keras, whole .h5, or model.json"
    )
    command.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="gets model.py, model.safetensors, port.json and report.html",
    )
    _add_weights(command)
    command.add_argument(
        "--input-layout", choices=("NTC", "NCT"), default="NTC",
        help="axes of the signal: batch, time, channel as in Keras (default), or channel before time",
    )  # fmt: skip
    _add_against(command)
    command.add_argument(
        "--contract", metavar="NAME|FILE",
        help="rate, leads, units, filters and classes: a known one such as pathology_avb, or a JSON file",
    )  # fmt: skip
    command.add_argument(
        "--class-name",
        default="Model",
        help="of the class in model.py (default: Model)",
    )
    command.add_argument(
        "--notes", default="", help="licence and attribution of the weights"
    )


def _convert(options: argparse.Namespace) -> None:
    from ecgnb.port.convert import convert
    from ecgnb.port.proof.reference import Reference

    asked = options.python and Reference.from_keras(
        options.file, weights=options.weights, python=options.python
    )
    made = convert(
        options.file,
        options.out,
        weights=options.weights,
        input_layout=options.input_layout,
        contract=options.contract,
        reference=options.reference or asked,
        class_name=options.class_name,
        notes=options.notes,
    )
    for name in ("model.py", "model.safetensors", "port.json", "report.html"):
        print(made.folder / name)
    if made.comparison is None:
        print(
            "\nNot compared with Keras: --reference names what Keras computed, --python one that can be asked."
        )
        return
    print("\n" + filled(str(made.comparison), terminal_width()))
    made.comparison.raise_if_failed()


def _add_verify(commands: Any) -> None:
    command = add_command(
        commands,
        "verify",
        _verify,
        "compare a port with Keras: every layer, logits, outputs and input gradients",
    )
    command.add_argument(
        "path",
        metavar="FILE|DIR",
        help="a Keras file, or a folder that `ecgnb port convert` wrote",
    )
    _add_weights(command)
    _add_against(command)
    command.add_argument(
        "--plot", metavar="OUT.png", help="draw the difference of every layer"
    )


def _add_against(command: argparse.ArgumentParser) -> None:
    against = command.add_mutually_exclusive_group()
    against.add_argument(
        "--reference", metavar="GOLDEN.npz", help="what Keras computed, kept in a file"
    )
    against.add_argument(
        "--python", metavar="PYTHON",
        help="interpreter that has Keras, to run the file in (verify: default ECGNB_KERAS_PYTHON, then this one)",
    )  # fmt: skip


def _verify(options: argparse.Namespace) -> None:
    from ecgnb.port.convert_report import differences
    from ecgnb.port.port_folder import is_port, load_port
    from ecgnb.port.ported import port_keras
    from ecgnb.port.proof.compare import compare

    port = (
        load_port(options.path)
        if is_port(options.path)
        else port_keras(options.path, weights=options.weights)
    )
    found = compare(port, _reference(options))
    width = terminal_width()
    print(
        text_table(differences(found.table).drop(columns=["class", "reference"]), width)
    )
    words = "max|d|: largest difference; relative: to the layer's scale; float64: the port from itself in float64."
    print(filled(words, width), end="\n\n")
    print(filled(str(found), width))
    if options.plot:
        _save_figure(found.plot(), Path(options.plot))
    if not found.passed:
        raise PortError(
            f"The port of {options.path} does not agree with its reference; see above."
        )


def _reference(options: argparse.Namespace) -> Reference | str:
    from ecgnb.port.port_folder import is_port
    from ecgnb.port.proof.reference import Reference

    if options.reference:
        return str(options.reference)
    if is_port(options.path):
        raise ConfigError(
            f"{options.path} holds a port, which Keras cannot run. Give --reference, or verify the Keras file itself."
        )
    return Reference.from_keras(
        options.path, weights=options.weights, python=options.python
    )


def _save_figure(figure: Any, path: Path) -> None:
    from ecgnb.core.files import atomic_write

    if path.suffix.lower() != ".png":
        raise ConfigError(f"--plot writes PNG; {path.name!r} does not end in .png.")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
    print(path)
