"""Convert a Keras file to a folder: PyTorch model, its source code and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecgnb.core.errors import PortError
from ecgnb.port.contract import Contract
from ecgnb.port.inspection.inspect_keras import KerasInspection, inspect_keras
from ecgnb.port.port_folder import REPORT, load_port, save_port
from ecgnb.port.ported import PortedModel, port_keras
from ecgnb.port.proof.compare import Comparison, compare
from ecgnb.port.proof.reference import Reference


@dataclass(frozen=True, eq=False, repr=False)
class Converted:
    """A finished conversion.

    Attributes:
        folder: with ``model.py``, ``model.safetensors``, ``port.json`` and
            ``report.html``.
        port: the model.
        inspection: of the Keras file.
        comparison: with the reference; ``None`` when there was none.
    """

    folder: Path
    port: PortedModel
    inspection: KerasInspection
    comparison: Comparison | None

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.port.parameters())
        files = sorted(file.name for file in self.folder.iterdir() if file.is_file())
        verdict = "It was not compared with Keras: give a reference."
        lines = [
            f"{self.inspection.file} is now a PyTorch model of {weights:,} parameters "
            f"in {self.folder}:",
            *(f"  {name}" for name in files),
            str(self.comparison) if self.comparison else verdict,
        ]
        return "\n".join(lines)


def convert(
    path: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    input_layout: str = "NTC",
    contract: Contract | Mapping[str, Any] | str | None = None,
    reference: Reference | str | Path | None = None,
    class_name: str = "Model",
    notes: str = "",
) -> Converted:
    """Port a Keras file and write the port as a folder, which is read back and must be
    the same.

    A port that diverges from its reference is written, too: the report shows where.

    Args:
        path: see `port_keras`.
        out: the folder.
        weights: see `port_keras`.
        input_layout: see `port_keras`.
        contract: see `port_keras`.
        reference: what Keras computes, or a golden file; the port is compared with it.
        class_name: of the class in ``model.py``.
        notes: licence and attribution of the weights, kept in ``port.json`` and in the
            report.

    Raises:
        PortError: see `port_keras`; or the folder, read back, is not the same.
        ConfigError: the contract contradicts the model, or the class name cannot be
            used.
    """
    port = port_keras(
        path, weights=weights, input_layout=input_layout, contract=contract
    )
    inspection = inspect_keras(path, weights)
    comparison = compare(port, reference) if reference is not None else None
    notes = notes or (port.contract.source if port.contract else "")
    folder = save_port(port, out, class_name=class_name, notes=notes)
    _refuse_different(port, load_port(folder))  # what was written is what is used
    # Here, since bundles import this package and most of them need no drawing.
    from ecgnb.port.convert_report import write_port_report

    write_port_report(folder / REPORT, port, inspection, comparison, notes)
    return Converted(folder, port, inspection, comparison)


def _refuse_different(port: PortedModel, copy: PortedModel) -> None:
    """Refuse a copy with other weights or another graph."""
    weights, copied = port.state_dict(), copy.state_dict()
    same = weights.keys() == copied.keys() and str(port.graph) == str(copy.graph)
    # Bit for bit: both come from the same float32 numbers.
    if not same or not all(torch.equal(weights[key], copied[key]) for key in weights):
        raise PortError(
            "The port was read back from its folder and is not the same. Please report "
            "this model."
        )
