"""Open any model as a `Bundle`: a saved bundle, a port, an ECG-FM checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.core.progress import say
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import DESCRIPTION, load_bundle
from ecgnb.deploy.hub_bundles import from_hub
from ecgnb.evaluation.thresholds import DEFAULT_THRESHOLD
from ecgnb.foundation.ecg_fm_checkpoint import load_ecg_fm
from ecgnb.foundation.recipe import LabelHead, ecg_fm_recipe, known_head
from ecgnb.hub.huggingface import is_hub_name
from ecgnb.models.ecg_fm import EcgFM
from ecgnb.port.backbone import backbone_of
from ecgnb.port.contract import UNITS
from ecgnb.port.port_folder import is_port, load_port
from ecgnb.port.ported import PortedModel
from ecgnb.transforms.pipeline import build_pipeline


def open_bundle(
    path_or_hub_id: str | Path,
    revision: str | None = None,
    classes: Sequence[str] = (),
) -> Bundle:
    """Load a bundle, a port with its contract or an ECG-FM checkpoint, as a bundle.

    Args:
        path_or_hub_id: folder of a bundle or of a port, a checkpoint file, or on the
            Hugging Face hub ``"owner/repository"`` of a bundle or
            ``"owner/repository/file.pt"`` of a checkpoint.
        revision: commit, tag or branch on the hub.
        classes: names of a checkpoint's outputs, where its labels were not published;
            others bring their own.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ConfigError: a port has no contract, or a checkpoint's labels have no known
            names.
    """
    name, path = str(path_or_hub_id), Path(path_or_hub_id)
    if is_port(path):
        return bundle_of_port(load_port(path))
    on_hub = is_hub_name(name)
    if path.is_file() or (on_hub and name.count("/") > 1):
        return bundle_of_ecg_fm(load_ecg_fm(name, revision=revision), classes)
    if on_hub:
        return from_hub(name, revision)
    if not path.exists():
        raise CheckpointError(
            f"There is no file or folder {path}. Check its name, or `ecgnb runs` for a "
            "run's."
        )
    return load_bundle(path)


def is_bundle(path_or_hub_id: str | Path) -> bool:
    """Return whether `open_bundle` can open a path or name, without reading it."""
    path = Path(path_or_hub_id)
    is_local = path.is_file() or is_port(path) or (path / DESCRIPTION).is_file()
    return is_local or is_hub_name(str(path_or_hub_id))


def bundle_of_ecg_fm(model: EcgFM, classes: Sequence[str] = ()) -> Bundle:
    """Return a bundle of an ECG-FM; a pretrained one gives embeddings.

    A recording is prepared as published and cut into windows of 5 s; a label's
    probability is the mean or the maximum over them, as published for the MIMIC-IV-ECG
    head, the mean for any other. A label is predicted from a probability of 0.5: no
    thresholds were published.

    Args:
        model: as `ecgnb.load_ecg_fm` returns it.
        classes: names of the outputs in order; by default those of the published head
            of this size.

    Raises:
        ConfigError: the names are not as many as the outputs, or missing for a head
            that was not published.
    """
    head = _label_head(model, tuple(classes))
    if model.n_classes and not classes:
        say(
            f"The checkpoint has no names of its {model.n_classes} outputs; these are "
            f"the {head.source}."
        )
    origin = getattr(model, "origin", None)  # only of a model that was loaded
    provenance = {
        "model": "ECG-FM (McKeen et al. 2025)",
        "labels": head.source,
        "checkpoint": getattr(origin, "file", None),
        "repository": getattr(origin, "repository", None),
        "revision": getattr(origin, "revision", None),
    }
    return Bundle(
        model=model,
        classes=head.classes,
        task="multilabel",
        prepare=ecg_fm_recipe(),
        transforms=build_pipeline([]),
        thresholds=(DEFAULT_THRESHOLD,) * len(head.classes),
        aggregate=head.aggregate,
        provenance={name: value for name, value in provenance.items() if value},
    )


def _label_head(model: EcgFM, classes: tuple[str, ...]) -> LabelHead:
    if model.n_classes == 0 and classes:
        raise ConfigError(
            "The model is pretrained and has no outputs to name "
            f"{list(classes)}. Leave the names out."
        )
    if model.n_classes == 0:
        return LabelHead((), (), "")
    if not classes:
        return known_head(model.n_classes)
    if len(classes) != model.n_classes or len(set(classes)) != len(classes):
        raise ConfigError(
            f"The model has {model.n_classes} outputs; it was given the names "
            f"{list(classes)}."
        )
    return LabelHead(classes, ("mean",) * len(classes), "given by the user")


def bundle_of_port(port: PortedModel) -> Bundle:
    """Return a bundle of a ported classifier.

    A recording is brought to the contract's rate, leads, filters, length and units
    before the network sees it; one that cannot be is refused with the reason. In a
    multi-label task a class is predicted from a probability of 0.5: a Keras file has no
    thresholds.

    Args:
        port: with one input, one output and a contract.

    Raises:
        ConfigError: the port has no contract, or cannot be a model of the workbench.
    """
    model = backbone_of(port)
    contract = port.contract
    assert contract is not None  # checked by backbone_of
    factor = UNITS[contract.units]  # from mV
    transforms = [{"name": "scale", "factor": factor}] if factor != 1 else []
    thresholds: tuple[float, ...] = ()
    if contract.task == "multilabel":
        thresholds = (DEFAULT_THRESHOLD,) * len(contract.classes)
    return Bundle(
        model=model,
        classes=contract.classes,
        task=contract.task,
        prepare=contract.prepare(),
        transforms=build_pipeline(transforms),
        thresholds=thresholds,
        provenance={
            "ported from": f"Keras {port.origin.keras_version}",
            "source": contract.source,
        },
    )
