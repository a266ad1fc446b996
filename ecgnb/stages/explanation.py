"""Why a trained model calls a class in a recording of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.core.errors import LabelError
from ecgnb.core.registry import did_you_mean
from ecgnb.run.run import Run
from ecgnb.stages.predict import find_bundle

if TYPE_CHECKING:
    from ecgnb.data.config import PrepareConfig
    from ecgnb.data.recording import Recording
    from ecgnb.data.signal.standardise import Standardised
    from ecgnb.deploy.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Explanation:
    """What speaks for a class in a recording, and what against it.

    Attributes:
        recording: the samples that the model saw, in mV: before the transforms, and
            before filters that take the unit away. Of a model that reads windows, all
            of them joined.
        attribution: ``[n_leads, n_samples]``, or ``[n_samples]`` for Grad-CAM; positive
            speaks for the class.
        target: the class; empty for attention, which is the same for all.
        probabilities: of all classes.
        prediction: the classes called, joined with ``|``.
        method: how it was found.
    """

    recording: Recording
    attribution: np.ndarray
    target: str
    probabilities: dict[str, float]
    prediction: str
    method: str

    def densest_second(self, seconds: float = 10.0) -> float:
        """Return where the stretch of ``seconds`` begins that holds most of the
        absolute relevance.
        """
        window = round(seconds * self.recording.fs)
        over_time = np.abs(
            np.broadcast_to(self.attribution, self.recording.signal.shape)
        ).sum(axis=0)
        if len(over_time) <= window:
            return 0.0
        total = np.concatenate([[0.0], np.cumsum(over_time, dtype=np.float64)])
        return int((total[window:] - total[:-window]).argmax()) / self.recording.fs

    def table(self) -> pd.DataFrame:
        """Return a row a lead: its share of all positive relevance, and the second
        where it is largest.
        """
        values = np.clip(
            np.broadcast_to(self.attribution, self.recording.signal.shape), 0.0, None
        )
        total = float(values.sum()) or 1.0
        return pd.DataFrame(
            {
                "lead": self.recording.leads,
                "share": values.sum(axis=1) / total,
                "largest_at_s": values.argmax(axis=1) / self.recording.fs,
            }
        )


def explain_recording(
    source: str | Path | Recording,
    run: str | Path | Run = "latest",
    method: str | None = None,
    target: str | None = None,
    **reading: Any,
) -> Explanation:
    """Explain a model's logit of one class.

    A model that reads a recording in windows is asked about each of them, and the
    answers are joined along time.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or where a model lies (see `ecgnb.predict`).
        method: one of `ecgnb.explain.EXPLAINERS`; left out, "integrated_gradients" for
            a transformer, through which relevance cannot be propagated, and
            "lrp_epsilon_std" for others.
        target: the class; left out, the one with the highest probability.
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Raises:
        LabelError: the model has no such class.
        ReadError: the recording cannot be used.
        ConfigError: the method is unknown, or cannot explain this model.
    """
    from ecgnb.data.readers.reading import read_recording
    from ecgnb.data.recording import Recording
    from ecgnb.deploy.predict import model_input, predict
    from ecgnb.deploy.windows import windows_of
    from ecgnb.explain import explain

    bundle = find_bundle(run)
    options = {name: value for name, value in reading.items() if value is not None}
    recording = (
        source if isinstance(source, Recording) else read_recording(source, **options)
    )
    row = predict(bundle, recording).iloc[0]
    probabilities = {name: float(row[name]) for name in bundle.classes}
    chosen = (
        max(probabilities, key=probabilities.__getitem__) if target is None else target
    )
    if chosen not in bundle.classes:
        hint = did_you_mean(chosen, bundle.classes)
        raise LabelError(
            f"The model has no class {chosen!r}.{hint} It has: {', '.join(bundle.classes)}."
        )
    method = method or (
        "integrated_gradients" if bundle.model.channels_last else "lrp_epsilon_std"
    )
    windows = windows_of(bundle, recording)
    number = bundle.classes.index(chosen)
    found = [
        explain(bundle.model, model_input(bundle, window), method, number)[0]
        for window in windows
    ]
    return Explanation(
        _seen(bundle, recording),
        _joined(found, windows),
        chosen,
        probabilities,
        row["prediction"],
        method,
    )


def attend_recording(
    source: str | Path | Recording,
    run: str | Path | Run = "latest",
    layer: int = -1,
    **reading: Any,
) -> Explanation:
    """Tell where a transformer looks in a recording; that is the same for all classes.

    Args:
        source: a file or a `Recording`.
        run: a model with attention, with or without a classifier; as for
            `explain_recording`.
        layer: which one; the last by default.
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Returns:
        An `Explanation` without a target; its attribution ``[n_samples]`` is from 0 to
        1 in each window.

    Raises:
        ReadError: the recording cannot be used.
        ConfigError: the model has no attention, or no such layer.
    """
    from ecgnb.data.readers.reading import read_recording
    from ecgnb.data.recording import Recording
    from ecgnb.deploy.windows import model_input, windows_of
    from ecgnb.explain import attention_saliency

    bundle = find_bundle(run)
    options = {name: value for name, value in reading.items() if value is not None}
    recording = (
        source if isinstance(source, Recording) else read_recording(source, **options)
    )
    windows = windows_of(bundle, recording)
    found = [
        attention_saliency(bundle.model, model_input(bundle, window), layer)[0]
        for window in windows
    ]
    return Explanation(
        _seen(bundle, recording), _joined(found, windows), "", {}, "", "attention"
    )


def _joined(found: list[Any], windows: list[Standardised]) -> np.ndarray:
    """Return what was found for each window, one after the other, without what stands
    for padding.
    """
    recorded = [
        each[..., slice(*window.valid)]
        for each, window in zip(found, windows, strict=True)
    ]
    return np.concatenate([each.float().cpu().numpy() for each in recorded], axis=-1)


def _seen(bundle: Bundle, recording: Recording) -> Recording:
    """Return what the model saw of a recording, in mV, all windows one after the other,
    without padding.
    """
    from ecgnb.deploy.windows import windows_of

    windows = windows_of(
        replace(bundle, prepare=_in_millivolts(bundle.prepare)), recording
    )
    return replace(
        recording,
        signal=np.concatenate(
            [window.signal[:, slice(*window.valid)] for window in windows], axis=1
        ),
        fs=bundle.prepare.target_fs,
        leads=tuple(bundle.prepare.leads or recording.leads),
        flags=windows[0].flags,
    )


def _in_millivolts(prepare: PrepareConfig) -> PrepareConfig:
    """Return a preparation that gives the same samples without filters after which they
    are no millivolts.
    """
    from ecgnb.data.signal.recording_filters import build_filters

    filters = build_filters(prepare.filters, prepare.target_fs)
    kept = [
        spec
        for spec, each in zip(prepare.filters, filters, strict=True)
        if each.keeps_unit
    ]
    return replace(prepare, filters=tuple(kept))
