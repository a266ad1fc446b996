"""Preparation and labels of the published ECG-FM models.

Source: the public repository of ECG-FM (bowang-lab, state of May 2025), its
preprocessing scripts and its tutorial. No checkpoint has the names of its labels; a
head is recognised by its number of outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ecgnb.core.errors import ConfigError
from ecgnb.data.catalog.cinc2020 import challenge_weights
from ecgnb.data.config import PrepareConfig
from ecgnb.foundation.ecg_fm_checkpoint import FS, LEADS, N_SAMPLES

#: The 17 labels of the MIMIC-IV-ECG head in the order of its outputs, and the rule that
#: joins the windows of a recording. (The tutorial lists the rules in another order.)
MIMIC: dict[str, str] = {
    "Poor data quality": "max",
    "Sinus rhythm": "mean",
    "Premature ventricular contraction": "max",
    "Tachycardia": "mean",
    "Ventricular tachycardia": "max",
    "Supraventricular tachycardia with aberrancy": "max",
    "Atrial fibrillation": "mean",
    "Atrial flutter": "mean",
    "Bradycardia": "mean",
    "Accessory pathway conduction": "mean",
    "Atrioventricular block": "mean",
    "1st degree atrioventricular block": "mean",
    "Bifascicular block": "mean",
    "Right bundle branch block": "mean",
    "Left bundle branch block": "mean",
    "Infarction": "mean",
    "Electronic pacemaker": "max",
}


@dataclass(frozen=True)
class LabelHead:
    """Labels of a fine-tuned model's outputs.

    Attributes:
        classes: their names, in order.
        aggregate: for each, how the probabilities of a recording's windows are joined,
            "mean" or "max".
        source: where the labels are from, in words.
    """

    classes: tuple[str, ...]
    aggregate: tuple[str, ...]
    source: str


def known_head(n_classes: int) -> LabelHead:
    """Return the published head with this number of outputs.

    MIMIC-IV-ECG (17) or PhysioNet/CinC Challenge 2021 (26).

    Raises:
        ConfigError: no published head has so many.
    """
    if n_classes == len(MIMIC):
        source = "labels of the MIMIC-IV-ECG head, by the number of outputs"
        return LabelHead(tuple(MIMIC), tuple(MIMIC.values()), source)
    challenge = challenge_weights(2021)[0]
    if n_classes == len(challenge):
        source = (
            "scored classes of PhysioNet/CinC Challenge 2021 in the order of its "
            "weights, by the number of outputs"
        )
        return LabelHead(challenge, ("mean",) * len(challenge), source)
    raise ConfigError(
        f"The model has {n_classes} outputs, and no checkpoint has their names; known "
        f"are the heads of MIMIC-IV-ECG ({len(MIMIC)}) and PhysioNet 2021 "
        f"({len(challenge)}). Give the names in the order of the outputs."
    )


def ecg_fm_recipe() -> PrepareConfig:
    """Return the preparation of a recording.

    12 leads, linear resampling to 500 Hz, each lead z-scored as a whole, windows of
    5 s.
    """
    return PrepareConfig(
        target_fs=FS,
        target_samples=N_SAMPLES,
        leads=LEADS,
        crop="start",
        resampling="linear",
        filters=("zscore",),
    )
