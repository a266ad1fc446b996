"""Predictions for recordings that are not part of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.inference import Source, answer
from ecgnb.deploy.windows import called_classes, model_input, require_classes

__all__ = ["Source", "called_classes", "model_input", "predict"]


def predict(
    bundle: Bundle, sources: Source | Iterable[Source], **reading: Any
) -> pd.DataFrame:
    """Predict one or many recordings, each on its own; `ecgnb.deploy.inference.infer`
    has more to give.

    Each goes the way of the training data: read, brought to the bundle's rate, length
    and leads, transformed. One that cannot be used keeps its row, with the reason in
    ``problem`` and no probabilities.

    Args:
        bundle: the trained model.
        sources: a file, a `Recording`, or many of them.
        **reading: passed to `read_recording`, such as ``fs=500`` for a CSV file that
            does not state its rate.

    Returns:
        A row a recording: ``record_id, prediction``, a probability column a class,
        ``seconds`` (of the recording that the model saw), ``flags`` (what is doubtful)
        and ``problem``.

    Raises:
        ReadError: a single recording was given and cannot be used.
        ConfigError: the model has no classifier.
    """
    require_classes(bundle)
    return answer(bundle, sources, **reading).table
