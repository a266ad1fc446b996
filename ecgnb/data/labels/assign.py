"""The cohort of a run: which recordings, with which labels, out of which folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.core.progress import say
from ecgnb.data.catalog import UNIFIED, classes_of, find_records
from ecgnb.data.config import DataConfig
from ecgnb.data.demo.cohort_files import DemoConfig, make_demo
from ecgnb.data.labels.mapping import Coverage, apply_mapping, infer_task, read_mapping

MAPPING_NAME = "unified_label_mapping.csv"
DEMO_RECORDS = 1000  # size of the demo cohort where no limit says otherwise


@dataclass(frozen=True)
class Cohort:
    """Labelled recordings.

    Attributes:
        manifest: a row a recording, with its ``label`` (classes joined with ``|``).
        classes: class names; their order is the order of the model's outputs.
        task: "multiclass" or "multilabel".
        coverage: how many recordings got their label from where.
    """

    manifest: pd.DataFrame
    classes: tuple[str, ...]
    task: str
    coverage: Coverage


def load_cohort(
    config: DataConfig, root: Path, folder: Path, target_fs: float
) -> Cohort:
    """Find the recordings in ``folder`` and give them their labels.

    Args:
        config: which data set and which labels.
        root: the project's folder, from which relative paths count.
        folder: the data set's folder (see `cohort_folder`).
        target_fs: rate of the training in Hz; a data set that comes in two rates offers
            the nearer one.

    Raises:
        LabelError: no labels are to be had, or none fits the classes.
        ConfigError: the data set, its label set or the task is unknown or
            contradictory.
    """
    known_layout = config.name not in ("demo", "folder")
    catalogued = config.name if known_layout else "folder"
    label_set = config.label_set or None
    found = find_records(
        catalogued,
        folder,
        label_set=label_set,
        likelihood=config.likelihood,
        target_fs=target_fs,
    )
    if not known_layout:
        found = found.assign(dataset=config.name)
    mapping = _mapping_for(config, root, folder, found)
    own = classes_of(catalogued, label_set) if known_layout else classes_in(mapping)
    classes = config.label_order or own
    manifest, coverage = apply_mapping(
        found, mapping, classes, unmapped=config.unmapped
    )
    if manifest.empty:
        raise LabelError(
            f"None of the {len(found)} recordings in {folder} has a label among {', '.join(classes)}. "
            "Check LABEL_ORDER, LABEL_SET and the label file against each other."
        )
    return Cohort(
        manifest.reset_index(drop=True),
        tuple(classes),
        _task(config, manifest),
        coverage,
    )


def cohort_folder(config: DataConfig, root: Path) -> Path:
    """Return the folder of the recordings; the demo cohort is made in
    ``artifacts/demo`` where it is missing.

    A relative ``dataset_dir`` counts from the project's folder, wherever the notebook's
    kernel started.
    """
    if config.name != "demo":
        if not config.dataset_dir:
            raise ConfigError(
                f"DATASET is {config.name!r}, but DATASET_DIR is empty; give the folder it lies in."
            )
        return resolve(config.dataset_dir, root)
    demo = DemoConfig(
        n_records=config.preprocess_limit or DEMO_RECORDS, seed=config.demo_seed
    )
    return make_demo(
        root / "artifacts" / "demo" / f"n{demo.n_records}-seed{demo.seed}", demo
    )


def classes_in(mapping: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes of a label file: the workbench's own five where it holds no
    others, else those it holds.

    >>> classes_in(pd.DataFrame({"mapped_label": ["sick", "OTHER|healthy"]}))
    ('healthy', 'sick', 'OTHER')
    """
    found = {
        label.strip()
        for labels in mapping["mapped_label"].unique()
        for label in labels.split("|")
    } - {""}
    if {label.upper() for label in found} <= set(UNIFIED):
        return UNIFIED
    say(f"The classes are those of the label file: {', '.join(sorted(found))}.")
    return tuple(sorted(found, key=lambda label: (label == "OTHER", label)))


def resolve(path: str, root: Path) -> Path:
    """Return an absolute path; a relative one counts from ``root``, the project's
    folder.
    """
    return (root / Path(path).expanduser()).resolve()


def _mapping_for(
    config: DataConfig, root: Path, folder: Path, found: pd.DataFrame
) -> pd.DataFrame:
    """A given label file wins; a known layout brings its own labels; any other folder
    needs the file inside it.
    """
    if config.mapping_csv:
        return read_mapping(resolve(config.mapping_csv, root))
    if config.name not in ("demo", "folder"):
        own = found.loc[found["label"] != "", ["dataset", "record_id", "label"]]
        return own.rename(columns={"label": "mapped_label"})
    inside = folder / MAPPING_NAME
    if not inside.is_file():
        raise LabelError(
            f"There is no label file for the recordings in {folder}. Put {MAPPING_NAME} (columns dataset, record_id, "
            "mapped_label) there, name one with MAPPING_CSV, or set DATASET if this is a known data set."
        )
    return read_mapping(inside)


def _task(config: DataConfig, manifest: pd.DataFrame) -> str:
    inferred = infer_task(manifest["label"])
    if config.task == "multiclass" and inferred == "multilabel":
        record = manifest.loc[
            manifest["label"].str.contains("|", regex=False), "record_id"
        ].iloc[0]
        raise ConfigError(
            f"TASK is 'multiclass', but recordings such as {record!r} carry several labels. Use TASK 'multilabel'."
        )
    return inferred if config.task == "auto" else config.task
