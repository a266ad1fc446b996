"""Write any model as a bundle: of a run, a port, a checkpoint or the hub, in its own
precision or a lower one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ecgnb.core.errors import ConfigError
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.deploy.inference import Source
from ecgnb.deploy.opening import open_bundle
from ecgnb.deploy.precision import PrecisionReport, lower_precision
from ecgnb.run.run import Run
from ecgnb.stages.predict import Model, files_in_folders, open_model


def make_bundle(
    source: Model,
    folder: str | Path,
    *,
    classes: Sequence[str] = (),
    precision: str = "float32",
    recordings: Source | Iterable[Source] = (),
    max_change: float = 0.02,
) -> PrecisionReport | None:
    """Write a model as a bundle: weights, architecture, preparation, labels,
    thresholds, provenance and a model card.

    Args:
        source: a run, its name or "latest", folder of a bundle or of a port, checkpoint
            of a foundation model, or a name on the Hugging Face hub.
        folder: folder of the new bundle.
        classes: names of a checkpoint's outputs, for one whose labels were not
            published.
        precision: of the weights, "float32", "bfloat16", "float16" or "int8".
        recordings: real ones on which a lower precision is compared; files, or folders
            of them.
        max_change: largest change of any probability by a lower precision.

    Returns:
        The changes by a lower precision, ``None`` for float32.

    Raises:
        ConfigError: a lower precision without recordings, or one that changes too much.
        CheckpointError, StageError: the model cannot be found or read.
    """
    if classes and (isinstance(source, Run) or Path(source).is_dir()):
        raise ConfigError(
            "classes are the names of a checkpoint's outputs; a bundle, a run and a "
            "port bring their own."
        )
    if classes:  # only a checkpoint takes them
        bundle = open_bundle(str(source), classes=classes)
    else:
        opened = open_model(source)
        opened.say_title()
        bundle = opened.bundle
    report = None  # there is nothing to compare in float32
    if precision != "float32":
        files = files_in_folders(recordings)
        if not files:
            raise ConfigError(
                f"precision={precision!r} is compared with float32 on real recordings: "
                "pass some, or a folder of them."
            )
        bundle, report = lower_precision(
            bundle, precision, files, max_change=max_change
        )
    save_bundle(bundle, folder)
    return report
