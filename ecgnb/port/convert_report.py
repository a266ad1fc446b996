"""The report of a conversion: what was ported, layer by layer, its contract, and how it
was verified.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ecgnb.core.console import printable
from ecgnb.core.environment import package_version
from ecgnb.figures.html_report import Section, write_report
from ecgnb.port.contract import Contract, contract_facts
from ecgnb.port.inspection.inspect_keras import NOT_IN_FILE, KerasInspection
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.compare import Comparison

_FILES = (
    "model.safetensors: the weights, as a PyTorch state dictionary.\n\n"
    "model.py: the same network as PyTorch source code, for reading and for projects without ecgnb; load() in it reads "
    "the weights.\n\n"
    "port.json: what ecgnb.port.load_port needs to build the network again.\n\n"
    "Explain the logits, not the probabilities: a saturated softmax or sigmoid has no gradient."
)


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
    facts = {
        "Keras": inspection.keras_version or "no version in the file",
        "layers": len(port.origin.modules),
        "parameters": inspection.parameters,
        "input": "; ".join(
            " x ".join("any" if n is None else str(n) for n in s[1:])
            for s in port.origin.inputs.values()
        ),
        "axes of the input": port.origin.input_layout,
        "verified": "not yet"
        if comparison is None
        else "passed"
        if comparison.passed
        else "FAILED",
    }
    sections = [
        _verification(comparison),
        Section(
            "Input contract",
            _contract_text(port.contract),
            _contract_table(port.contract),
        ),
        Section(
            "Layers",
            "Shapes are in Keras' layout (time before channels), without the batch.",
            _layers(inspection),
        ),
        Section("Files", _FILES),
        Section(
            "Licence and attribution",
            notes or "Nobody told under which licence the weights may be used.",
        ),
    ]
    footer = (
        f"Written by ecgnb {package_version('ecgnb')} from {_source(port)}. Weights and architecture are those of the "
        "file; neither Keras nor TensorFlow was used. This is research software, not a medical device."
    )
    return write_report(
        path, f"Port of {printable(inspection.file)}", facts, sections, footer
    )


def _source(port: PortedModel) -> str:
    facts = port.source
    told = f"{facts['file']} (SHA-256 {facts['sha256']})"
    return told + (
        f" and {facts['weights']} (SHA-256 {facts['weights_sha256']})"
        if "weights" in facts
        else ""
    )


def _verification(comparison: Comparison | None) -> Section:
    if comparison is None:
        return Section(
            "Verification",
            "The port was not compared with Keras. Give a golden file or a Python with Keras to `ecgnb port verify`, "
            "which compares every layer, the logits and the input gradients.",
        )
    about = (
        "\n\nBelow, 'relative' is the largest difference of a layer from the reference, relative to the layer's scale, "
        "its largest absolute value. 'float64' tells how far the port is from itself in double "
        "precision, 'reference' how far the reference is from that: two correct float32 programs differ by so much."
    )
    return Section(
        "Verification",
        _lines(str(comparison)) + about,
        [
            (
                "Differences from the reference, a layer a row",
                differences(comparison.table)[_COLUMNS],
            )
        ],
        [
            (
                "Relative difference of each layer from the reference and from float64",
                comparison.plot(),
            )
        ],
    )


#: The verdict stands where a narrow window still shows it.
_COLUMNS = ["layer", "verdict", "shape", "scale", "relative", "float64", "reference"]


def _lines(text: str) -> str:
    """Return the lines of a text as paragraphs."""
    return "\n\n".join(map(printable, text.split("\n")))


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a `Comparison` for people: shapes without the batch,
    differences with two digits.
    """
    shown = table[["layer", "class"]].map(printable)
    shown["shape"] = ["x".join(map(str, shape[1:])) for shape in table["shape"]]
    shown["scale"] = [
        "" if value != value else f"{value:.4g}" for value in table["scale"]
    ]
    names = {
        "max|d|": "max_abs",
        "relative": "relative",
        "float64": "port_vs_float64",
        "reference": "reference_vs_float64",
    }
    for name, column in names.items():
        shown[name] = [
            "" if value != value else f"{value:.1e}" for value in table[column]
        ]
    return shown.assign(verdict=table["verdict"])


def _layers(inspection: KerasInspection) -> list[tuple[str, pd.DataFrame]]:
    table = inspection.short_table
    table = table.loc[:, (table.astype(str) != "").any()].map(
        lambda cell: printable(cell) if isinstance(cell, str) else cell
    )
    also = (
        "; 'takes' tells the input where it is not the row above"
        if "takes" in table
        else ""
    )
    return [(f"Layers in the order of their calls{also}", table)]


def _contract_text(contract: Contract | None) -> str:
    if contract is not None:
        return "What a recording must be before the model may see it. It was given, not read from the file."
    return (
        f"The file does not tell: {NOT_IN_FILE}. Ask whoever trained the model, and give it to the port (port.agree, or "
        "--contract); a wrong guess fails nowhere, the answers are only wrong."
    )


def _contract_table(contract: Contract | None) -> list[tuple[str, pd.DataFrame]]:
    if contract is None:
        return []
    return [
        (
            "Contract",
            pd.DataFrame(
                list(contract_facts(contract).items()), columns=["what", "value"]
            ),
        )
    ]
