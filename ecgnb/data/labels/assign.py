"""Cohort of a run: find the recordings of a data set and label them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError
from ecgnb.core.progress import say
from ecgnb.data.catalog import UNIFIED, classes_of, find_records
from ecgnb.data.config import DataConfig
from ecgnb.data.demo.cohort_files import DemoConfig, make_demo
from ecgnb.data.labels.mapping import OTHER, Coverage, apply_mapping
from ecgnb.data.labels.mapping_file import as_mapping, read_mapping
from ecgnb.data.labels.targets import infer_task

MAPPING_NAME = "unified_label_mapping.csv"
#: Size of the demo cohort without a limit.
DEMO_RECORDS = 1000


@dataclass(frozen=True)
class Cohort:
    """Labelled recordings.

    Attributes:
        manifest: one row per recording, with its ``label`` (classes joined with ``|``).
        classes: class names; their order is the order of the model's outputs.
        task: "multiclass" or "multilabel".
        coverage: how many recordings got their label from where.
    """

    manifest: pd.DataFrame
    classes: tuple[str, ...]
    task: str
    coverage: Coverage


def load_cohort(
    config: DataConfig,
    root: Path,
    folder: Path,
    target_fs: float,
) -> Cohort:
    """Find the recordings in ``folder`` and label them.

    Args:
        config: which data set and which labels.
        root: the project's folder, to which relative paths refer.
        folder: the data set's folder (see `cohort_folder`).
        target_fs: sampling rate of the training in Hz; of a data set at two rates the
            nearer one is used.

    Raises:
        LabelError: there are no labels, or none is among the classes.
        ConfigError: the data set, its label set or the task is unknown or
            contradictory.
    """
    is_known = config.name not in ("demo", "folder")
    dataset = config.name if is_known else "folder"
    label_set = config.label_set or None
    records = find_records(
        dataset,
        folder,
        label_set=label_set,
        likelihood=config.likelihood,
        target_fs=target_fs,
    ).assign(dataset=config.name)
    if config.mapping_csv:
        mapping = read_mapping(resolve(config.mapping_csv, root))
    elif is_known:
        mapping = as_mapping(records)
    else:
        mapping = _mapping_in(folder)
    classes = config.label_order
    if not classes and is_known:
        classes = classes_of(dataset, label_set)
    elif not classes:
        classes = classes_in(mapping)
    manifest, coverage = apply_mapping(records, mapping, classes, config.unmapped)
    if manifest.empty:
        raise LabelError(
            f"None of the {len(records)} recordings in {folder} has a label among "
            f"{', '.join(classes)}. Check LABEL_ORDER, LABEL_SET and the label file "
            "against each other."
        )
    manifest = manifest.reset_index(drop=True)
    return Cohort(manifest, tuple(classes), _task(config, manifest), coverage)


def cohort_folder(config: DataConfig, root: Path) -> Path:
    """Return the folder of the recordings.

    A relative ``dataset_dir`` refers to the project's folder ``root``, not to the
    directory in which the kernel started. The demo cohort is written to
    ``artifacts/demo`` where it is missing.
    """
    if config.name == "demo":
        n_records = config.preprocess_limit or DEMO_RECORDS
        demo = DemoConfig(n_records=n_records, seed=config.demo_seed)
        name = f"n{demo.n_records}-seed{demo.seed}"
        return make_demo(root / "artifacts" / "demo" / name, demo)
    if not config.dataset_dir:
        raise ConfigError(
            f"DATASET is {config.name!r}, but DATASET_DIR is empty; give its folder."
        )
    return resolve(config.dataset_dir, root)


def classes_in(mapping: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes of a label file: `UNIFIED` where it has no other labels, else
    its labels in alphabetical order with OTHER last.

    >>> classes_in(pd.DataFrame({"mapped_label": ["sick", "OTHER|healthy"]}))
    ('healthy', 'sick', 'OTHER')
    """
    parts = "|".join(mapping["mapped_label"].unique()).split("|")
    labels = {part.strip() for part in parts} - {""}
    if {label.upper() for label in labels} <= set(UNIFIED):
        return UNIFIED
    say(f"The classes are those of the label file: {', '.join(sorted(labels))}.")
    return tuple(sorted(labels, key=lambda label: (label == OTHER, label)))


def resolve(path: str, root: Path) -> Path:
    """Return an absolute path; a relative one refers to the project's ``root``."""
    return (root / Path(path).expanduser()).resolve()


def _mapping_in(folder: Path) -> pd.DataFrame:
    path = folder / MAPPING_NAME
    if not path.is_file():
        raise LabelError(
            f"There is no label file for the recordings in {folder}. Put "
            f"{MAPPING_NAME} (columns dataset, record_id, mapped_label) there, name "
            "one with MAPPING_CSV, or set DATASET if this is a known data set."
        )
    return read_mapping(path)


def _task(config: DataConfig, manifest: pd.DataFrame) -> str:
    inferred = infer_task(manifest["label"])
    if config.task == "auto":
        return inferred
    if config.task == "multiclass" and inferred == "multilabel":
        several = manifest["label"].str.contains("|", regex=False)
        record = manifest.loc[several, "record_id"].iloc[0]
        raise ConfigError(
            f"TASK is 'multiclass', but recordings such as {record!r} carry several "
            "labels. Use TASK 'multilabel'."
        )
    return config.task
