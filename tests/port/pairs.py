"""Pairs of a port and the golden file that it must agree with."""

from __future__ import annotations

import json
from pathlib import Path

from faults import Fault

from ecgnb.port import PortedModel, port_keras

ZOO = Path(__file__).parent / "zoo"
#: Containers of the golden models.
GOLDEN = {
    "pathology_avb": (
        "model.json",
        "whole_keras2.h5",
        "model.keras",
        "model_tfkeras2.keras",
    ),
    "generic_ecg": (
        "model.json",
        "whole_keras2_with_optimizer.h5",
        "model.keras",
        "model_tfkeras2.keras",
    ),
    "ribeiro_small": ("whole_keras2.h5", "model.keras"),
}


def zoo_pair(case: str) -> tuple[PortedModel, Path]:
    """Port the first file of a case of the layer zoo."""
    index = json.loads((ZOO / "index.json").read_text(encoding="utf-8"))
    line = next(
        line for line in index["models"] if line["case"] == case and line["files"]
    )
    return port_of(line["files"]), ZOO / line["golden"]


def port_of(files: list[str]) -> PortedModel:
    return port_keras(
        ZOO / files[0], weights=ZOO / files[1] if len(files) > 1 else None
    )


def golden_pair(
    golden_dir: Path, model: str, container: str = "model.keras"
) -> tuple[PortedModel, Path]:
    folder = golden_dir / "keras" / model
    return port_keras(folder / container), folder / "golden.npz"


def faulty_pair(fault: Fault, golden_dir: Path | None) -> tuple[PortedModel, Path]:
    """Port a fault's model and spoil it."""
    port, golden = (
        golden_pair(golden_dir, fault.model) if golden_dir else zoo_pair(fault.model)
    )
    fault.spoil(port)
    return port, golden
