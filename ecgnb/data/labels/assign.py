"""Cohort of a run: find the recordings of a data set and label them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecgnb.core.errors import ConfigError, LabelError, first_few
from ecgnb.core.progress import say
from ecgnb.data.catalog import UNIFIED, classes_of, find_records, recognise
from ecgnb.data.config import DataConfig
from ecgnb.data.demo.cohort_files import DemoConfig, make_demo
from ecgnb.data.labels.label_cells import NO_CLASS
from ecgnb.data.labels.mapping import OTHER, Coverage, apply_mapping
from ecgnb.data.labels.mapping_file import LabelColumns, as_mapping, read_mapping
from ecgnb.data.labels.targets import infer_task
from ecgnb.data.readers.csv_text import CsvReader

MAPPING_NAME = "unified_label_mapping.csv"
#: Size of the demo cohort without a limit.
DEMO_RECORDS = 1000


@dataclass(frozen=True)
class Cohort:
    """Labelled recordings.

    Attributes:
        manifest: one row per recording, with its ``label``: classes joined with ``|``,
            "" for none of them.
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
    if is_known and not config.mapping_csv:
        mapping = as_mapping(records)
    else:
        file = label_file(config, root, folder)
        mapping = read_mapping(file, columns_of(config), config.label_order)
    classes = config.label_order or config.one_hot_columns
    if not classes and is_known and (label_set or not config.mapping_csv):
        classes = classes_of(dataset, label_set)
    elif not classes:
        classes = classes_in(mapping)
        say(f"The classes are those of the label file: {', '.join(classes)}.")
    manifest, coverage = apply_mapping(records, mapping, classes, config.unmapped)
    not_understood = records.attrs.get("not_understood", {})
    coverage = dataclasses.replace(coverage, not_understood=not_understood)
    if manifest.empty:
        raise LabelError(
            f"None of the {len(records)} recordings in {folder} has a label among "
            f"{', '.join(classes)}. Check LABEL_ORDER, LABEL_SET and the label file "
            "against each other."
        )
    manifest = manifest.reset_index(drop=True)
    task = _task(config, manifest)
    _describe(coverage, task)
    return Cohort(manifest, tuple(classes), task, coverage)


def _describe(coverage: Coverage, task: str) -> None:
    """Print what is lost or unusual: recordings left out, empty sets, empty classes."""
    if coverage.n_dropped:
        counts = {
            "whose label is not stated": coverage.n_unknown,
            "whose name is ambiguous": coverage.n_ambiguous,
        }
        n_unnamed = coverage.n_dropped - coverage.n_unknown - coverage.n_ambiguous
        counts["that the label file does not name"] = n_unnamed
        reasons = [f"{count} {reason}" for reason, count in counts.items() if count]
        advice = ""
        if n_unnamed and OTHER not in coverage.classes:
            advice = f" With {OTHER} in LABEL_ORDER the last ones are {OTHER}."
        say(
            f"{coverage.n_dropped} of {coverage.n_records} recordings are left out: "
            f"{', '.join(reasons)}.{advice}"
        )
    if coverage.n_no_class:
        say(
            f"{coverage.n_no_class} recordings have none of the classes, so this is a "
            f"{task} task."
        )
    empty = [name for name, count in coverage.classes.items() if count == 0]
    if empty:
        say(
            f"No recording has the label {first_few(empty)}: such an output learns "
            "nothing. Give the classes that occur with LABEL_ORDER."
        )


def label_file(config: DataConfig, root: Path, folder: Path) -> Path:
    """Return the label file of a run: MAPPING_CSV, else the usual one in ``folder``.

    Raises:
        LabelError: there is none; the message names the tables and the data set that
            the folder seems to contain.
    """
    if config.mapping_csv:
        return resolve(config.mapping_csv, root)
    if (folder / MAPPING_NAME).is_file():
        return folder / MAPPING_NAME
    advice = (
        f"Put {MAPPING_NAME} (columns record_id, mapped_label) there, or name a label "
        "file with MAPPING_CSV"
    )
    tables = [path.name for path in sorted(folder.glob("*")) if is_table(path)]
    if tables:
        advice += f" (there is {first_few(tables)})"
    known = recognise(folder)
    if known:
        advice += f"; this looks like {known}: set DATASET={known!r}"
    raise LabelError(f"There is no label file {folder / MAPPING_NAME}. {advice}.")


def is_table(path: Path) -> bool:
    """Return whether a file may be a label table, not a recording."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        return True
    is_text = suffix in (".csv", ".tsv", ".txt")
    return is_text and path.is_file() and not CsvReader().is_recording(path)


def columns_of(config: DataConfig) -> LabelColumns:
    """Return which columns of the label file a run reads."""
    return LabelColumns(
        record=config.record_column,
        label=config.label_column,
        patient=config.patient_column,
        one_hot=config.one_hot_columns,
    )


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
    """Return the classes that occur in a label file: in the order of `UNIFIED` where it
    has no others, else in alphabetical order with OTHER last.

    >>> classes_in(pd.DataFrame({"mapped_label": ["sick", "OTHER|healthy"]}))
    ('healthy', 'sick', 'OTHER')
    """
    parts = "|".join(mapping["mapped_label"].unique()).split("|")
    labels = {part.strip() for part in parts} - {"", NO_CLASS}
    names = {label.upper() for label in labels}
    if names <= set(UNIFIED):
        return tuple(name for name in UNIFIED if name in names)
    return tuple(sorted(labels, key=lambda label: (label == OTHER, label)))


def resolve(path: str, root: Path) -> Path:
    """Return an absolute path; a relative one refers to the project's ``root``."""
    return (root / Path(path).expanduser()).resolve()


def _task(config: DataConfig, manifest: pd.DataFrame) -> str:
    inferred = infer_task(manifest["label"])
    if config.task == "auto":
        return inferred
    if config.task == "multiclass" and inferred == "multilabel":
        label = manifest["label"]
        is_single = (label != "") & ~label.str.contains("|", regex=False)
        record = manifest.loc[~is_single, "record_id"].iloc[0]
        raise ConfigError(
            f"TASK is 'multiclass', but recordings such as {record!r} carry several "
            "labels or none. Use TASK 'multilabel'."
        )
    return config.task
