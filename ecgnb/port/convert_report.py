"""Report of a conversion: layers, contract and verification, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecgnb.core.console import printable
from ecgnb.core.environment import package_version
from ecgnb.figures.html_report import Section, write_report
from ecgnb.port.contract import Contract, contract_facts
from ecgnb.port.inspection.inspect_keras import NOT_IN_FILE, KerasInspection
from ecgnb.port.network import size_texts
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.compare import Comparison

_FILES = """\
model.safetensors: the weights, as a PyTorch state dictionary.

model.py: the same network as PyTorch source code, for reading and for projects without
ecgnb; load() in it reads the weights.

port.json: what ecgnb.port.load_port needs to build the network again.

Explain the logits, not the probabilities: a saturated softmax or sigmoid has no
gradient."""
_COMPARED = """

In the table, 'relative' is the largest difference of a layer from the reference,
relative to the layer's scale, its largest absolute value. 'float64' is how far the port
is from itself in double precision, 'reference' how far the reference is from that: two
correct float32 programs differ by so much."""
_NOT_COMPARED = """\
The port was not compared with Keras. Give a golden file or a Python with Keras to
`ecgnb port verify`, which compares every layer, the logits and the input gradients."""
_NO_CONTRACT = f"""\
The file does not contain: {NOT_IN_FILE}. Ask whoever trained the model, and give it to
the port (port.agree, or --contract); a wrong guess fails nowhere, the answers are only
wrong."""
_CONTRACT = """\
What a recording must be before the model may see it. It was given, not read from the
file."""

#: Columns of the comparison; the verdict comes where a narrow window still shows it.
_COLUMNS = ["layer", "verdict", "shape", "scale", "relative", "float64", "reference"]


def write_port_report(
    path: str | Path,
    port: PortedModel,
    inspection: KerasInspection,
    comparison: Comparison | None,
    notes: str = "",
) -> Path:
    """Write the report of a port as one HTML file.

    Args:
        path: the file.
        port: the model.
        inspection: of the Keras file.
        comparison: with a reference; ``None`` when there was none.
        notes: licence and attribution of the weights.
    """
    verdict = "not yet"
    if comparison is not None:
        verdict = "passed" if comparison.passed else "FAILED"
    inputs = []
    for _, *sizes in port.origin.inputs.values():  # without the batch
        inputs.append(" x ".join(size_texts(sizes)))
    facts = {
        "Keras": inspection.keras_version or "no version in the file",
        "layers": len(port.origin.modules),
        "parameters": inspection.parameters,
        "input": "; ".join(inputs),
        "axes of the input": port.origin.input_layout,
        "verified": verdict,
    }
    sections = [
        _verification(comparison),
        _contract(port.contract),
        _layers(inspection),
        Section("Files", _FILES),
        Section(
            "Licence and attribution",
            notes or "The licence of the weights is not known.",
        ),
    ]
    source = port.source
    files = f"{source['file']} (SHA-256 {source['sha256']})"
    if "weights" in source:
        files += f" and {source['weights']} (SHA-256 {source['weights_sha256']})"
    footer = (
        f"Written by ecgnb {package_version('ecgnb')} from {files}. Weights "
        "and architecture are those of the file; neither Keras nor TensorFlow was "
        "used. This is research software, not a medical device."
    )
    title = f"Port of {printable(inspection.file)}"
    return write_report(path, title, facts, sections, footer)


def _verification(comparison: Comparison | None) -> Section:
    if comparison is None:
        return Section("Verification", _NOT_COMPARED)
    paragraphs = "\n\n".join(map(printable, str(comparison).split("\n")))
    table = differences(comparison.table)[_COLUMNS]
    caption = "Relative difference of each layer from the reference and from float64"
    return Section(
        "Verification",
        paragraphs + _COMPARED,
        [("Differences from the reference, one row per layer", table)],
        [(caption, comparison.plot())],
    )


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a `Comparison` for reading: shapes without the batch,
    differences with two digits.
    """
    shown = table[["layer", "class"]].map(printable)  # names come from the file
    shown["shape"] = ["x".join(map(str, shape[1:])) for shape in table["shape"]]
    columns = {
        "scale": ("scale", "{:.4g}"),
        "max|d|": ("max_abs", "{:.1e}"),
        "relative": ("relative", "{:.1e}"),
        "float64": ("port_vs_float64", "{:.1e}"),
        "reference": ("reference_vs_float64", "{:.1e}"),
    }
    for name, (column, digits) in columns.items():
        text = table[column].map(digits.format)
        shown[name] = text.where(table[column].notna(), "")  # NaN: not compared
    return shown.assign(verdict=table["verdict"])


def _layers(inspection: KerasInspection) -> Section:
    table = inspection.short_table
    table = table.map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    caption = "Layers in the order of their calls"
    if "takes" in table:
        caption += "; 'takes' is the input where it is not the row above"
    about = "Shapes are in Keras' layout (time before channels), without the batch."
    return Section("Layers", about, [(caption, table)])


def _contract(contract: Contract | None) -> Section:
    if contract is None:
        return Section("Input contract", _NO_CONTRACT)
    facts = list(contract_facts(contract).items())
    table = pd.DataFrame(facts, columns=["what", "value"])
    return Section("Input contract", _CONTRACT, [("Contract", table)])
