"""Configuration of the data: which recordings, their prepared form and the split.

This module imports neither pandas nor scipy, so that `ecgnb.open_run` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ecgnb.core.errors import ConfigError
from ecgnb.core.parameters import check_choices
from ecgnb.data.signal.quality import MAX_FS, MIN_FS


@dataclass(frozen=True)
class DataConfig:
    """Which recordings a run uses and what they are called.

    Attributes:
        dataset: name in the catalogue; empty: ``demo`` without a ``dataset_dir``,
            ``folder`` with one.
        dataset_dir: folder of the recordings.
        mapping_csv: label file (record_id, mapped_label); empty:
            ``unified_label_mapping.csv`` in the folder.
        record_column: column of the label file with the recordings; empty:
            ``record_id``.
        label_column: column of the label file with the labels; empty:
            ``mapped_label``.
        patient_column: column of the label file with the patients; empty:
            ``patient_id``, if there is one.
        one_hot_columns: columns of the label file that are classes, of 0 and 1, in
            place of ``label_column``.
        label_set: which of the data set's label sets; empty: its own default.
        label_order: the classes in order; empty: those of the label file, else of the
            label set.
        likelihood: PTB-XL: count a diagnostic statement only with at least this
            likelihood (0-100).
        task: "multiclass", "multilabel" or "auto" (multilabel as soon as one recording
            has two labels).
        unmapped: recordings without a label become "other" or are dropped; both are
            counted.
        preprocess_limit: use that many recordings, drawn at random with a fixed seed; 0
            uses all.
        demo_seed: seed of the demo cohort.
    """

    dataset: str = ""
    dataset_dir: str = ""
    mapping_csv: str = ""
    record_column: str = ""
    label_column: str = ""
    patient_column: str = ""
    one_hot_columns: tuple[str, ...] = ()
    label_set: str = ""
    label_order: tuple[str, ...] = ()
    likelihood: float = 0.0
    task: Literal["auto", "multiclass", "multilabel"] = "auto"
    unmapped: Literal["other", "drop"] = "other"
    preprocess_limit: int = 0
    demo_seed: int = 0

    def __post_init__(self) -> None:
        if self.dataset == "demo" and self.dataset_dir:
            raise ConfigError(
                f"DATASET is 'demo', which is generated, but DATASET_DIR is "
                f"{self.dataset_dir!r}. Drop one."
            )
        check_choices(self)
        if self.name not in ("demo", "folder"):
            # Imported here, so that the catalogue (and pandas) loads only for data sets
            # whose name and label set must be checked.
            from ecgnb.data.catalog import classes_of

            classes_of(self.name, self.label_set or None)
        self._check_columns()
        if self.preprocess_limit < 0:
            raise ConfigError(
                f"PREPROCESS_LIMIT is {self.preprocess_limit}; give 0 (all) or a "
                "positive number."
            )
        for name in ("label_order", "one_hot_columns"):
            classes = getattr(self, name)
            if len(set(classes)) != len(classes):
                raise ConfigError(
                    f"{name.upper()} names a class twice: {', '.join(classes)}."
                )
            wrong = [text for text in classes if "|" in text or not text.strip()]
            if wrong:
                raise ConfigError(
                    f"{name.upper()} contains {wrong[0]!r}; a class has a name without "
                    "'|', which separates classes."
                )

    def _check_columns(self) -> None:
        """Refuse names of columns that would not be read."""
        if self.label_column and self.one_hot_columns:
            raise ConfigError(
                f"LABEL_COLUMN is {self.label_column!r} and ONE_HOT_COLUMNS are "
                f"{', '.join(self.one_hot_columns)}; the labels are in one or in the "
                "others. Drop one."
            )
        if self.mapping_csv or self.name == "folder":
            return
        names = ("record_column", "label_column", "patient_column", "one_hot_columns")
        for name in names:
            if getattr(self, name):
                raise ConfigError(
                    f"{name.upper()} is {getattr(self, name)!r}, but there is no label "
                    f"file: the labels are those of {self.name}. Give MAPPING_CSV, or "
                    f"drop {name.upper()}."
                )

    @property
    def name(self) -> str:
        """The data set's name with "empty" resolved."""
        return self.dataset or ("folder" if self.dataset_dir else "demo")


@dataclass(frozen=True)
class PrepareConfig:
    """The form of the stored signals.

    Attributes:
        target_fs: rate in Hz.
        target_samples: length in samples; longer recordings are cropped, shorter ones
            padded with zeros.
        leads: names of the leads in order; empty: the data set's own.
        missing_leads: what to do with a recording that lacks a lead: "reject" it, or
            store "zero" in its place.
        crop: keep the middle of a recording ("center") or its beginning ("start");
            padding follows the same rule.
        resampling: by a "filter" that lets no alias through
            (`ecgnb.data.signal.resample`), or "linear" over the whole recording, for
            models that were trained so (`ecgnb.data.signal.resample`).
        filters: what is done to the whole recording at ``target_fs`` before it is
            cropped, each a name or ``{"name": ..., option: ...}``
            (`ecgnb.data.signal.recording_filters`).
        store_dtype: "int16" with a scale a record and lead, or "float16".
        shard_size: recordings a file.
        n_jobs: processes; -1 uses all cores, 1 works without a pool.
    """

    target_fs: float = 500.0
    target_samples: int = 5000
    leads: tuple[str, ...] = ()
    missing_leads: Literal["reject", "zero"] = "reject"
    crop: Literal["center", "start"] = "center"
    resampling: Literal["filter", "linear"] = "filter"
    filters: tuple[Any, ...] = ()
    store_dtype: Literal["int16", "float16"] = "int16"
    shard_size: int = 512
    n_jobs: int = -1

    def __post_init__(self) -> None:
        if not MIN_FS <= self.target_fs <= MAX_FS:
            raise ConfigError(
                f"TARGET_FS is {self.target_fs:g}; give a rate from {MIN_FS:g} to "
                f"{MAX_FS:g} Hz."
            )
        for name in ("target_samples", "shard_size"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name.upper()} is {getattr(self, name)}; give a positive number."
                )
        if len(set(self.leads)) != len(self.leads):
            raise ConfigError(f"LEADS names a lead twice: {', '.join(self.leads)}.")
        if self.n_jobs == 0:
            raise ConfigError(
                "N_JOBS is 0; give a number of processes, or -1 for all cores."
            )
        check_choices(self)
        if self.filters:
            # Imported here: the filters need scipy.
            from ecgnb.data.signal.recording_filters import build_filters

            build_filters(self.filters, self.target_fs)


@dataclass(frozen=True)
class SplitConfig:
    """How the records are split.

    Attributes:
        split: "stratified" by label; "official" folds of the data set; "kfold"
            cross-validation.
        valid_fraction: part of the records for validation, with "stratified"; with
            "kfold", part of the records outside the test fold.
        test_fraction: part of the records for the test, with "stratified".
        n_folds: number of folds, with "kfold".
        test_fold: fold that is the test; -1 is the last. With "kfold" folds count from
            0; with "official" this is the data set's own number and the fold before it
            validates.
        split_seed: decides which of the possible divisions it is.
    """

    split: Literal["stratified", "official", "kfold"] = "stratified"
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    n_folds: int = 10
    test_fold: int = -1
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        if (
            min(self.valid_fraction, self.test_fraction) <= 0
            or self.valid_fraction + self.test_fraction >= 1
        ):
            raise ConfigError(
                f"VALID_FRACTION {self.valid_fraction:g} and TEST_FRACTION "
                f"{self.test_fraction:g} must be above 0 and leave something for "
                "training."
            )
        if self.n_folds < 3:
            raise ConfigError(
                f"N_FOLDS is {self.n_folds}; give at least 3, so that most of the "
                "records train."
            )
        if self.split == "kfold" and not -1 <= self.test_fold < self.n_folds:
            raise ConfigError(
                f"TEST_FOLD is {self.test_fold}; give 0 to {self.n_folds - 1}, or -1 "
                "for the last."
            )
