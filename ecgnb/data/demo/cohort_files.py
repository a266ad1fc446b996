"""Demo cohort on disk: synthetic twelve-lead WFDB files with labels, no download."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import (
    atomic_write,
    fingerprint,
    make_folder,
    read_json,
    remove_file,
    remove_leftovers,
    write_csv,
    write_json,
    write_text,
)
from ecgnb.core.progress import progress
from ecgnb.data.demo.patients import DATASET, DemoConfig, plan_case, record_name
from ecgnb.data.demo.synthesise import ADC_PER_MV, synthesise, to_adc
from ecgnb.data.recording import Recording

RECORDS_FOLDER = "records"
MAPPING_FILE = "unified_label_mapping.csv"
RECORDS_FILE = "demo_records.csv"
FINISHED_FILE = "demo.json"
#: Exists while the records are being written.
STARTED_FILE = "demo-started.json"
# Increase it with every change of the signals, so that an older cohort is refused.
_GENERATOR_VERSION = 1
# Starting workers takes as long as making about this many recordings.
_MIN_RECORDS_FOR_WORKERS = 400


def demo_fingerprint(config: DemoConfig) -> str:
    """Return a hash of everything that decides the content of the cohort."""
    return fingerprint({"generator": _GENERATOR_VERSION, **dataclasses.asdict(config)})


def make_demo(
    folder: str | Path, config: DemoConfig | None = None, n_jobs: int = -1
) -> Path:
    """Write the demo cohort into ``folder``; return the folder.

    An existing cohort is not made again; an interrupted or incomplete one is completed.
    The folder holds ``records/D00001.hea`` and ``.dat`` and so on;
    ``unified_label_mapping.csv`` (dataset, record_id, mapped_label: the training label,
    a few per cent of them wrong); ``demo_records.csv`` (record_id, patient_id, label:
    the truth, subtype, borderline, age, sex); and, written last, ``demo.json``.

    Args:
        folder: where to write; made when missing.
        config: of the cohort; the default has 1,000 recordings.
        n_jobs: processes, -1 for one per core; small cohorts are made in this process.

    Raises:
        ConfigError: the folder holds another demo cohort.

    Example:
        >>> make_demo("artifacts/demo", DemoConfig(n_records=64))  # doctest: +SKIP
    """
    folder = Path(folder)
    config = config or DemoConfig()
    _refuse_another_cohort(folder, config)
    missing = _missing_records(folder, config)
    last_files = [folder / MAPPING_FILE, folder / RECORDS_FILE, folder / FINISHED_FILE]
    if not missing and all(file.is_file() for file in last_files):
        return folder
    identity = {
        "fingerprint": demo_fingerprint(config),
        "config": dataclasses.asdict(config),
    }
    write_json(folder / STARTED_FILE, identity)
    remove_file(folder / FINISHED_FILE)
    remove_leftovers(folder)
    _write_records(folder / RECORDS_FOLDER, missing, config, n_jobs)
    table = _records_table(config)
    write_csv(folder / MAPPING_FILE, table[["dataset", "record_id", "mapped_label"]])
    write_csv(folder / RECORDS_FILE, table.drop(columns=["dataset", "mapped_label"]))
    counts = table["label"].value_counts().to_dict()
    write_json(folder / FINISHED_FILE, {**identity, "counts": counts})
    (folder / STARTED_FILE).unlink(missing_ok=True)
    return folder


def write_record(folder: Path, recording: Recording) -> None:
    """Write ``<record_id>.dat`` (format 16, multiplexed) and ``<record_id>.hea``.

    The header is written last: a record that has one is complete.

    Args:
        folder: where to write; made when missing.
        recording: signal in mV; ``metadata`` needs ``age`` and ``sex``.
    """
    name = recording.record_id
    samples = to_adc(recording.signal)
    with atomic_write(folder / f"{name}.dat") as temporary:
        samples.T.astype("<i2").tofile(temporary)
    write_text(folder / f"{name}.hea", header_text(recording, samples))


def header_text(recording: Recording, samples: np.ndarray) -> str:
    """Return the WFDB header for int16 samples ``[n_leads, n_samples]``.

    A checksum is the sum of a lead's samples modulo 65536, unsigned as the ``wfdb``
    package writes it.
    """
    name = recording.record_id
    sums = samples.sum(axis=1, dtype=np.int64) % 65536
    lines = [f"{name} {recording.n_leads} {recording.fs:g} {recording.n_samples}"]
    for lead, first, checksum in zip(recording.leads, samples[:, 0], sums, strict=True):
        adc = f"{ADC_PER_MV}(0)/mV 16 0"
        lines.append(f"{name}.dat 16 {adc} {first} {checksum} 0 {lead}")
    lines += [
        f"# age: {recording.metadata['age']}",
        f"# sex: {recording.metadata['sex']}",
        f"# Patient ID: {recording.patient_id}",
        "# Source: synthetic, made by the demo generator of ecgnb",
    ]
    return "\n".join(lines) + "\n"


def _refuse_another_cohort(folder: Path, config: DemoConfig) -> None:
    for path in (folder / FINISHED_FILE, folder / STARTED_FILE):
        if not path.is_file():
            continue
        try:
            identity = read_json(path)
        except ValueError:
            identity = None
        if not isinstance(identity, dict):
            raise ConfigError(
                f"{path} is damaged. Delete the folder {folder} to make the demo "
                "cohort again."
            )
        if identity.get("fingerprint") != demo_fingerprint(config):
            raise ConfigError(
                f"{folder} holds another demo cohort: "
                f"{_differences(identity.get('config', {}), config)}. Choose another "
                "folder, delete this one, or use the same configuration."
            )


def _differences(existing: dict[str, object], config: DemoConfig) -> str:
    differences = []
    for name, value in dataclasses.asdict(config).items():
        if existing.get(name) != value:
            differences.append(f"{name} is {existing.get(name)!r}, not {value!r}")
    return ", ".join(differences) or "it was made by another generator version"


def _missing_records(folder: Path, config: DemoConfig) -> list[int]:
    """Return the positions of records without header or without all samples."""
    sizes = {}
    for file in (folder / RECORDS_FOLDER).glob("D*.*"):
        sizes[file.name] = file.stat().st_size
    complete = 2 * 12 * config.n_samples  # bytes of twelve int16 leads
    missing = []
    for index in range(config.n_records):
        name = record_name(index)
        has_samples = sizes.get(f"{name}.dat") == complete
        has_header = sizes.get(f"{name}.hea", 0) > 0
        if not (has_samples and has_header):
            missing.append(index)
    return missing


def _write_records(
    folder: Path, indices: list[int], config: DemoConfig, n_jobs: int
) -> None:
    make_folder(folder)
    if len(indices) < _MIN_RECORDS_FOR_WORKERS:
        n_jobs = 1
    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    jobs = [delayed(_make_record)(folder, index, config) for index in indices]
    for _ in progress(pool(jobs), total=len(jobs), title="demo cohort"):
        pass


def _make_record(folder: Path, index: int, config: DemoConfig) -> None:
    write_record(folder, synthesise(index, config))


def _records_table(config: DemoConfig) -> pd.DataFrame:
    """Return one row per recording with its patient, diagnosis and mapped label."""
    rows = []
    for index in range(config.n_records):
        case = plan_case(index, config)
        rows.append(
            {
                "dataset": DATASET,
                "record_id": case.record_id,
                "mapped_label": case.label,
                "patient_id": case.patient.patient_id,
                "label": case.true_label,
                "subtype": case.subtype,
                "borderline": case.borderline,
                "age": case.patient.age,
                "sex": case.patient.sex,
            }
        )
    return pd.DataFrame(rows)
