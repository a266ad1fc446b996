"""The cohort of a run: which recordings, with which labels, out of which folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from ecgnb.data.catalog import UNIFIED, classes_of, find_records
from ecgnb.data.demo import DemoConfig, make_demo
from ecgnb.data.labels import Coverage, apply_mapping, infer_task, read_mapping
from ecgnb.errors import ConfigError, LabelError

MAPPING_NAME = "unified_label_mapping.csv"
DEMO_RECORDS = 1000  # size of the demo cohort where no limit says otherwise


@dataclass(frozen=True)
class DataConfig:
    """Which recordings a run uses and what they are called.

    Attributes:
        dataset: name in the catalogue; empty: ``demo`` without a ``dataset_dir``, ``folder`` with one.
        dataset_dir: folder of the recordings.
        mapping_csv: label file (dataset, record_id, mapped_label); empty: ``unified_label_mapping.csv`` in the folder.
        label_set: which of the data set's label sets; empty: its own default.
        label_order: the classes in order; empty: those of the label set.
        likelihood: PTB-XL: count a diagnostic statement only with at least this likelihood (0-100).
        task: "multiclass", "multilabel" or "auto" (multilabel as soon as one recording has two labels).
        unmapped: recordings without a label become "other" or are dropped; both are counted.
        preprocess_limit: use that many recordings, drawn at random with a fixed seed; 0 uses all.
        demo_seed: seed of the demo cohort.
    """

    dataset: str = ""
    dataset_dir: str = ""
    mapping_csv: str = ""
    label_set: str = ""
    label_order: tuple[str, ...] = ()
    likelihood: float = 0.0
    task: Literal["auto", "multiclass", "multilabel"] = "auto"
    unmapped: Literal["other", "drop"] = "other"
    preprocess_limit: int = 0
    demo_seed: int = 0

    def __post_init__(self) -> None:
        if self.preprocess_limit < 0:
            raise ConfigError(f"PREPROCESS_LIMIT is {self.preprocess_limit}; give 0 (all) or a positive number.")
        if len(set(self.label_order)) != len(self.label_order):
            raise ConfigError(f"LABEL_ORDER names a class twice: {', '.join(self.label_order)}.")

    @property
    def name(self) -> str:
        """The data set's name with "empty" resolved."""
        return self.dataset or ("folder" if self.dataset_dir else "demo")


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


def load_cohort(config: DataConfig, folder: Path, target_fs: float) -> Cohort:
    """Find the recordings in ``folder`` and give them their labels.

    Args:
        config: which data set and which labels.
        folder: the data set's folder (see `cohort_folder`).
        target_fs: rate of the training in Hz; a data set that comes in two rates offers the nearer one.

    Raises:
        LabelError: no labels are to be had, or none fits the classes.
        ConfigError: the data set, its label set or the task is unknown or contradictory.
    """
    known_layout = config.name not in ("demo", "folder")
    catalogued = config.name if known_layout else "folder"
    label_set = config.label_set or None
    found = find_records(catalogued, folder, label_set=label_set, likelihood=config.likelihood, target_fs=target_fs)
    if not known_layout:
        found = found.assign(dataset=config.name)
    mapping = _mapping_for(config, folder, found, known_layout)
    classes = config.label_order or (classes_of(catalogued, label_set) if known_layout else UNIFIED)
    manifest, coverage = apply_mapping(found, mapping, classes, unmapped=config.unmapped)
    if manifest.empty:
        raise LabelError(
            f"None of the {len(found)} recordings in {folder} has a label among {', '.join(classes)}. "
            "Check LABEL_ORDER, LABEL_SET and the label file against each other."
        )
    return Cohort(manifest.reset_index(drop=True), tuple(classes), _task(config, manifest), coverage)


def cohort_folder(config: DataConfig, demo_root: Path) -> Path:
    """Return the folder of the recordings; the demo cohort is generated under ``demo_root`` where it is missing."""
    if config.name != "demo":
        if not config.dataset_dir:
            raise ConfigError(f"DATASET is {config.name!r}, but DATASET_DIR is empty; give the folder it lies in.")
        return Path(config.dataset_dir).expanduser().resolve()
    demo = DemoConfig(n_records=config.preprocess_limit or DEMO_RECORDS, seed=config.demo_seed)
    return make_demo(demo_root / f"n{demo.n_records}-seed{demo.seed}", demo)


def _mapping_for(config: DataConfig, folder: Path, found: pd.DataFrame, known_layout: bool) -> pd.DataFrame:
    """A given label file wins; a known layout brings its own labels; any other folder needs the file inside it."""
    if config.mapping_csv:
        return read_mapping(Path(config.mapping_csv).expanduser())
    if known_layout:
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
        record = manifest.loc[manifest["label"].str.contains("|", regex=False), "record_id"].iloc[0]
        raise ConfigError(
            f"TASK is 'multiclass', but recordings such as {record!r} carry several labels. Use TASK 'multilabel'."
        )
    return inferred if config.task == "auto" else config.task
