"""`open_bundle`: whatever can predict, by where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.progress import say
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import DESCRIPTION, load_bundle
from ecgnb.foundation.recipe import LabelHead, ecg_fm_recipe, known_head
from ecgnb.hub.huggingface import is_hub_name
from ecgnb.models.ecg_fm import EcgFM
from ecgnb.port.backbone import backbone_of
from ecgnb.port.contract import UNITS, Contract
from ecgnb.port.port_folder import is_port
from ecgnb.port.ported import PortedModel
from ecgnb.transforms.pipeline import build_pipeline


def bundle_of_ecg_fm(
    model: EcgFM, classes: Sequence[str] = (), threshold: float = 0.5
) -> Bundle:
    """Return all that predictions with an ECG-FM need, or embeddings with a pretrained
    one.

    A recording is prepared as published and cut into windows of 5 s; a label's
    probability is the mean or the maximum over them, as published for the MIMIC-IV-ECG
    head, the mean for any other.

    Args:
        model: as `ecgnb.load_ecg_fm` returns it.
        classes: names of the outputs in order; left out, those of the published head of
            this size.
        threshold: the probability from which a label is called; none was published.

    Raises:
        ConfigError: the names are not as many as the outputs, or left out for a head
            that was not published.
    """
    head = _head(model, tuple(classes))
    if model.n_classes and not classes:
        say(
            f"The checkpoint holds no names of its {model.n_classes} outputs; taken are the {head.source}."
        )
    origin = getattr(model, "origin", None)
    told = {"model": "ECG-FM (McKeen et al. 2025)", "labels": head.source}
    if origin is not None:
        told |= {
            "checkpoint": origin.file,
            "repository": origin.repository,
            "revision": origin.revision,
        }
    return Bundle(
        model=model,
        classes=head.classes,
        task="multilabel",
        prepare=ecg_fm_recipe(),
        transforms=build_pipeline([]),
        thresholds=(threshold,) * len(head.classes),
        aggregate=head.aggregate,
        provenance={name: value for name, value in told.items() if value},
    )


def _head(model: EcgFM, classes: tuple[str, ...]) -> LabelHead:
    if model.n_classes == 0 and classes:
        raise ConfigError(
            f"The model is pretrained and has no outputs to name {list(classes)}. Leave the names out."
        )
    if model.n_classes == 0:
        return LabelHead((), (), "")
    if not classes:
        return known_head(model.n_classes)
    if len(classes) != model.n_classes or len(set(classes)) != len(classes):
        raise ConfigError(
            f"The model has {model.n_classes} outputs; it was given the names {list(classes)}."
        )
    return LabelHead(classes, ("mean",) * len(classes), "given by the user")


def bundle_of_port(port: PortedModel, threshold: float = 0.5) -> Bundle:
    """Return all that predictions with a ported classifier need.

    A recording is brought to the contract's rate, leads, filters, length and units
    before the network sees it; one that cannot be is refused with the reason.

    Args:
        port: with one input, one output and a contract.
        threshold: for multilabel, the probability from which a class is called; a Keras
            file tells none.

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
        transforms=build_pipeline(
            [{"name": "scale", "factor": factor}] if factor != 1 else []
        ),
        thresholds=(threshold,) * len(contract.classes)
        if contract.task == "multilabel"
        else (),
        provenance={
            "ported from": f"Keras {port.origin.keras_version}",
            "source": contract.source,
        },
    )


def open_bundle(
    where: str | Path, revision: str | None = None, classes: Sequence[str] = ()
) -> Bundle:
    """Load a bundle; or a port with its contract, or a checkpoint of ECG-FM, as one.

    Args:
        where: folder of a bundle or of a port, a checkpoint file, or on the Hugging
            Face hub ``"owner/repository"`` of a bundle or
            ``"owner/repository/file.pt"`` of a checkpoint.
        revision: commit, tag or branch on the hub.
        classes: names of a checkpoint's outputs, for one whose labels were not
            published; others bring their own.

    Raises:
        CheckpointError: there is nothing of the kind, or it is damaged.
        ConfigError: a port has no contract, or a checkpoint's labels have no known
            names.
    """
    if is_port(where):
        from ecgnb.port.port_folder import load_port

        return bundle_of_port(load_port(where))
    if Path(where).is_file() or (is_hub_name(str(where)) and str(where).count("/") > 1):
        from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm

        return bundle_of_ecg_fm(load_ecg_fm(where, revision=revision), classes)
    if is_hub_name(str(where)):
        from ecgnb.deploy.hub_bundles import from_hub

        return from_hub(str(where), revision)
    if not Path(where).exists():
        raise CheckpointError(
            f"There is no file or folder {where}. Check its name, or `ecgnb runs` for a run's."
        )
    return load_bundle(where)


def is_bundle(where: str | Path) -> bool:
    """Return whether `open_bundle` knows what lies there, without reading it."""
    path = Path(where)
    return (
        path.is_file()
        or is_port(where)
        or (path / DESCRIPTION).is_file()
        or is_hub_name(str(where))
    )
