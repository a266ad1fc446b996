"""Explain a trained model's prediction for a new recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgnb.core.errors import LabelError
from ecgnb.core.registry import did_you_mean
from ecgnb.data.readers.reading import read_recording
from ecgnb.data.recording import Recording
from ecgnb.data.signal.recording_filters import build_filters
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import Source, predict_recordings
from ecgnb.deploy.windows import model_input, windows_of
from ecgnb.explain import attention_saliency, explain
from ecgnb.stages.predict import Model, open_model


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which samples of a recording raise the score of a class, and which lower it.

    Attributes:
        recording: the samples that the model saw, in mV: before the transforms, and
            without filters that change the unit. Of a model that reads windows, all of
            them joined.
        attribution: ``[n_leads, n_samples]``, or ``[n_samples]`` for Grad-CAM; positive
            raises the score of the class.
        target: the class; empty for attention, which is the same for all.
        probabilities: of all classes.
        prediction: the classes called, joined with ``|``.
        method: name of the explainer.
        run: name of the run that trained the model, or where the model is from.
        model: name of its architecture.
    """

    recording: Recording
    attribution: np.ndarray
    target: str
    probabilities: dict[str, float]
    prediction: str
    method: str
    run: str = ""
    model: str = ""

    def _by_lead(self) -> np.ndarray:
        # Grad-CAM and attention have one row for all leads.
        return np.broadcast_to(self.attribution, self.recording.signal.shape)

    def densest_second(self, seconds: float = 10.0) -> float:
        """Return the start of the stretch of ``seconds`` with most of the absolute
        relevance.
        """
        window = round(seconds * self.recording.fs)  # samples
        over_time = np.abs(self._by_lead()).sum(axis=0)
        if len(over_time) <= window:
            return 0.0
        # Sums of all windows as differences of one cumulative sum.
        total = np.concatenate([[0.0], np.cumsum(over_time, dtype=np.float64)])
        return int((total[window:] - total[:-window]).argmax()) / self.recording.fs

    def table(self) -> pd.DataFrame:
        """Return one row per lead: its share of all positive relevance, and the second
        where it is largest.
        """
        values = np.clip(self._by_lead(), 0.0, None)
        total = float(values.sum()) or 1.0  # no sample may raise the score
        return pd.DataFrame(
            {
                "lead": self.recording.leads,
                "share": values.sum(axis=1) / total,
                "largest_at_s": values.argmax(axis=1) / self.recording.fs,
            }
        )


def read_source(source: Source, reading: dict[str, Any]) -> Recording:
    """Read a file; a `Recording` is returned as it is."""
    if isinstance(source, Recording):
        return source
    return read_recording(source, **reading)


def predict_one(
    bundle: Bundle, recording: Recording
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the table of `predict_recordings`, and the probabilities by class."""
    table = predict_recordings(bundle, recording)
    row = table.iloc[0]
    return table, {name: float(row[name]) for name in bundle.classes}


def explain_recording(
    source: Source,
    run: Model = "latest",
    method: str | None = None,
    target: str | None = None,
    **reading: Any,
) -> Explanation:
    """Explain a model's logit of one class.

    A model that reads a recording in windows is explained in each of them, and the
    attributions are joined along time.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or the path of a model (see `ecgnb.predict`).
        method: one of `ecgnb.explain.EXPLAINERS`; by default "integrated_gradients" for
            a transformer, through which relevance cannot be propagated, and
            "lrp_epsilon_std" for others.
        target: the class; by default the one with the highest probability.
        **reading: what the file does not state, such as ``fs=500``.

    Raises:
        LabelError: the model has no such class.
        ReadError: the recording cannot be used.
        ConfigError: the method is unknown, or cannot explain this model.
    """
    opened = open_model(run)
    opened.say_title()
    bundle = opened.bundle
    recording = read_source(source, reading)
    table, probabilities = predict_one(bundle, recording)
    if target is None:
        target = max(probabilities, key=probabilities.__getitem__)
    if target not in bundle.classes:
        raise LabelError(
            f"The model has no class {target!r}.{did_you_mean(target, bundle.classes)} "
            f"It has: {', '.join(bundle.classes)}."
        )
    if method is None:
        transformer = bundle.model.channels_last
        method = "integrated_gradients" if transformer else "lrp_epsilon_std"
    number = bundle.classes.index(target)
    attribution = _over_windows(
        bundle, recording, lambda x: explain(bundle.model, x, method, number)
    )
    seen = _seen_recording(bundle, recording)
    prediction = table["prediction"].iloc[0]
    return Explanation(
        seen,
        attribution,
        target,
        probabilities,
        prediction,
        method,
        run=opened.run,
        model=opened.model,
    )


def attend_recording(
    source: Source,
    run: Model = "latest",
    layer: int = -1,
    **reading: Any,
) -> Explanation:
    """Return where a transformer attends in a recording; it is the same for all
    classes.

    Args:
        source: a file or a `Recording`.
        run: a model with attention, with or without a classifier; as for
            `explain_recording`.
        layer: which one; the last by default.
        **reading: what the file does not state, such as ``fs=500``.

    Returns:
        An `Explanation` without a target; its attribution ``[n_samples]`` is from 0 to
        1 in each window.

    Raises:
        ReadError: the recording cannot be used.
        ConfigError: the model has no attention, or no such layer.
    """
    opened = open_model(run)
    opened.say_title()
    bundle = opened.bundle
    recording = read_source(source, reading)
    saliency = _over_windows(
        bundle, recording, lambda x: attention_saliency(bundle.model, x, layer)
    )
    seen = _seen_recording(bundle, recording)
    return Explanation(
        seen,
        saliency,
        target="",
        probabilities={},
        prediction="",
        method="attention",
        run=opened.run,
        model=opened.model,
    )


def _over_windows(
    bundle: Bundle,
    recording: Recording,
    explain_window: Callable[[torch.Tensor], Any],
) -> np.ndarray:
    """Explain each window and join the results along time, without padding."""
    parts = []
    for window in windows_of(bundle, recording):
        attribution = explain_window(model_input(bundle, window))[0]
        recorded = attribution[..., slice(*window.valid)]  # [(n_leads,) n_samples]
        parts.append(recorded.float().cpu().numpy())
    return np.concatenate(parts, axis=-1)


def _seen_recording(bundle: Bundle, recording: Recording) -> Recording:
    """Return what the model saw of a recording, in mV: all windows joined, without
    padding and without filters that change the unit.
    """
    prepare = bundle.prepare
    filters = build_filters(prepare.filters, prepare.target_fs)
    kept = tuple(
        spec
        for spec, built in zip(prepare.filters, filters, strict=True)
        if built.keeps_unit
    )
    in_millivolts = replace(bundle, prepare=replace(prepare, filters=kept))
    windows = windows_of(in_millivolts, recording)
    # [n_leads, samples], without the padding of a short window
    parts = [window.signal[:, slice(*window.valid)] for window in windows]
    return replace(
        recording,
        signal=np.concatenate(parts, axis=1),
        fs=prepare.target_fs,
        leads=tuple(prepare.leads or recording.leads),
        flags=windows[0].flags,
    )
