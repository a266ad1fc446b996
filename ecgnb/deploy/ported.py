"""A ported Keras classifier as a `Bundle`: predictions with its contract checked, like those of any model."""

from __future__ import annotations

from typing import cast

from ecgnb.deploy.bundle import Bundle
from ecgnb.port.backbone import backbone_of
from ecgnb.port.contract import UNITS, Contract
from ecgnb.port.ported import PortedModel
from ecgnb.transforms.pipeline import build_pipeline


def bundle_of_port(port: PortedModel, threshold: float = 0.5) -> Bundle:
    """Return all that predictions with a ported classifier need.

    A recording is brought to the contract's rate, leads, filters, length and units before the network sees it; one
    that cannot be is refused with the reason.

    Args:
        port: with one input, one output and a contract.
        threshold: for multilabel, the probability from which a class is called; a Keras file tells none.

    Raises:
        ConfigError: the port has no contract, or cannot be a model of the workbench.
    """
    model = backbone_of(port)
    contract = cast(Contract, port.contract)
    factor = UNITS[contract.units]
    return Bundle(
        model=model,
        classes=contract.classes,
        task=contract.task,
        prepare=contract.prepare(),
        transforms=build_pipeline([{"name": "scale", "factor": factor}] if factor != 1 else []),
        thresholds=(threshold,) * len(contract.classes) if contract.task == "multilabel" else (),
        provenance={"ported from": f"Keras {port.origin.keras_version}", "source": contract.source},
    )
