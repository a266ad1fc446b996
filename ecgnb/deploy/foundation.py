"""A foundation model's checkpoint as a `Bundle`, with the recipe and the label names that it does not hold."""

from __future__ import annotations

from collections.abc import Sequence

from ecgnb.deploy.bundle import Bundle
from ecgnb.errors import ConfigError
from ecgnb.foundation.recipe import LabelHead, ecg_fm_recipe, known_head
from ecgnb.models.ecg_fm import EcgFM
from ecgnb.progress import say
from ecgnb.transforms.pipeline import build_pipeline


def bundle_of_ecg_fm(model: EcgFM, classes: Sequence[str] = (), threshold: float = 0.5) -> Bundle:
    """Return all that predictions with an ECG-FM need, or embeddings with a pretrained one.

    A recording is prepared as published and cut into windows of 5 s; a label's probability is the mean or the maximum
    over them, as published for the MIMIC-IV-ECG head, the mean for any other.

    Args:
        model: as `ecgnb.load_ecg_fm` returns it.
        classes: names of the outputs in order; left out, those of the published head of this size.
        threshold: the probability from which a label is called; none was published.

    Raises:
        ConfigError: the names are not as many as the outputs, or left out for a head that was not published.
    """
    head = _head(model, tuple(classes))
    if model.n_classes and not classes:
        say(f"The checkpoint holds no names of its {model.n_classes} outputs; taken are the {head.source}.")
    origin = getattr(model, "origin", None)
    told = {"model": "ECG-FM (McKeen et al. 2025)", "labels": head.source}
    if origin is not None:
        told |= {"checkpoint": origin.file, "repository": origin.repository, "revision": origin.revision}
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
        raise ConfigError(f"The model is pretrained and has no outputs to name {list(classes)}. Leave the names out.")
    if model.n_classes == 0:
        return LabelHead((), (), "")
    if not classes:
        return known_head(model.n_classes)
    if len(classes) != model.n_classes or len(set(classes)) != len(classes):
        raise ConfigError(f"The model has {model.n_classes} outputs; it was given the names {list(classes)}.")
    return LabelHead(classes, ("mean",) * len(classes), "given by the user")
