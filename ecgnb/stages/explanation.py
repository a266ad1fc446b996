"""Why a trained model calls a class in a recording of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgnb.errors import LabelError
from ecgnb.registry import did_you_mean
from ecgnb.run import Run
from ecgnb.stages.predict import find_bundle

if TYPE_CHECKING:
    from ecgnb.data.recording import Recording


@dataclass(frozen=True, eq=False)
class Explanation:
    """What speaks for a class in a recording, and what against it.

    Attributes:
        recording: what the model saw of it, in mV, before the transforms.
        attribution: ``[n_leads, n_samples]``, or ``[n_samples]`` for Grad-CAM; positive speaks for the class.
        target: the class.
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
        """Return where the stretch of ``seconds`` begins that holds most of the absolute relevance."""
        window = round(seconds * self.recording.fs)
        over_time = np.abs(np.broadcast_to(self.attribution, self.recording.signal.shape)).sum(axis=0)
        if len(over_time) <= window:
            return 0.0
        total = np.concatenate([[0.0], np.cumsum(over_time, dtype=np.float64)])
        return int((total[window:] - total[:-window]).argmax()) / self.recording.fs

    def table(self) -> pd.DataFrame:
        """Return a row a lead: its share of all positive relevance, and the second where it is largest."""
        values = np.clip(np.broadcast_to(self.attribution, self.recording.signal.shape), 0.0, None)
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
    run: str | Run = "latest",
    method: str = "lrp_epsilon_std",
    target: str | None = None,
    **reading: Any,
) -> Explanation:
    """Explain a model's logit of one class.

    Args:
        source: a file or a `Recording`.
        run: a run, its name, "latest", or the folder of a bundle or of a ported model.
        method: one of `ecgnb.explain.EXPLAINERS`.
        target: the class; left out, the one with the highest probability.
        **reading: how to read a file that does not say it itself, such as ``fs=500``.

    Raises:
        LabelError: the model has no such class.
        ReadError: the recording cannot be used.
        ConfigError: the method is unknown, or cannot explain this model.
    """
    from ecgnb.data.reading import read_recording
    from ecgnb.data.recording import Recording
    from ecgnb.data.standardise import standardise
    from ecgnb.deploy.predict import model_input, predict
    from ecgnb.explain import explain

    bundle = find_bundle(run)
    options = {name: value for name, value in reading.items() if value is not None}
    recording = source if isinstance(source, Recording) else read_recording(source, **options)
    row = predict(bundle, recording).iloc[0]
    probabilities = {name: float(row[name]) for name in bundle.classes}
    chosen = max(probabilities, key=probabilities.__getitem__) if target is None else target
    if chosen not in bundle.classes:
        hint = did_you_mean(chosen, bundle.classes)
        raise LabelError(f"The model has no class {chosen!r}.{hint} It has: {', '.join(bundle.classes)}.")
    ready = standardise(recording, bundle.prepare)
    found = explain(bundle.model, model_input(bundle, ready), method, bundle.classes.index(chosen))
    leads = bundle.prepare.leads or recording.leads
    seen = replace(recording, signal=ready.signal, fs=bundle.prepare.target_fs, leads=tuple(leads), flags=ready.flags)
    return Explanation(seen, found[0].numpy(), chosen, probabilities, row["prediction"], method)
