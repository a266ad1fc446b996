"""The demo cohort: synthetic twelve-lead recordings as WFDB files, with labels, for
trying everything without data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import (
    atomic_write,
    fingerprint,
    make_folder,
    read_json,
    remove_leftovers,
    write_csv,
    write_json,
    write_text,
)
from ecgnb.core.progress import progress
from ecgnb.data.demo.patients import CLASSES, DATASET, SUBTYPES, DemoConfig, plan_case
from ecgnb.data.demo.synthesise import ADC_PER_MV, synthesise, to_adc
from ecgnb.data.recording import Recording


def write_record(folder: Path, recording: Recording) -> None:
    """Write ``<record_id>.dat`` (format 16, multiplexed) and ``<record_id>.hea``, each
    whole or not at all.

    The header comes last: a record that has one is complete.

    Args:
        folder: where to write; must exist or be creatable.
        recording: signal in mV; ``metadata`` needs ``age``, ``sex`` and ``subtype``.
    """
    samples = to_adc(recording.signal)
    with atomic_write(folder / f"{recording.record_id}.dat") as temporary:
        temporary.write_bytes(np.ascontiguousarray(samples.T, dtype="<i2").tobytes())
    write_text(folder / f"{recording.record_id}.hea", header_text(recording, samples))


def header_text(recording: Recording, samples: np.ndarray) -> str:
    """Return the WFDB header of a recording whose samples ``[n_leads, n_samples]`` are
    int16.

    A checksum is the sum of a lead's samples modulo 65536, unsigned as the ``wfdb``
    package writes it.
    """
    name = recording.record_id
    sums = samples.sum(axis=1, dtype=np.int64) % 65536
    lines = [f"{name} {recording.n_leads} {recording.fs:g} {recording.n_samples}"]
    for lead, first, checksum in zip(recording.leads, samples[:, 0], sums, strict=True):
        lines.append(
            f"{name}.dat 16 {ADC_PER_MV}(0)/mV 16 0 {first} {checksum} 0 {lead}"
        )
    lines += [
        f"# age: {recording.metadata['age']}",
        f"# sex: {recording.metadata['sex']}",
        f"# Patient ID: {recording.patient_id}",
        "# Source: synthetic, made by the demo generator of ecgnb",
    ]
    return "\n".join(lines) + "\n"


__all__ = [
    "CLASSES",
    "SUBTYPES",
    "DemoConfig",
    "demo_fingerprint",
    "make_demo",
    "synthesise",
]

RECORDS_FOLDER = "records"
MAPPING_FILE = "unified_label_mapping.csv"
RECORDS_FILE = "demo_records.csv"
FINISHED_FILE = "demo.json"
#: Stands beside the records while they are being made.
STARTED_FILE = "demo-started.json"
# Raise it with every change of the signals, so that an older cohort is not taken for a
# present one.
_GENERATOR_VERSION = 1
_CHUNK = 50  # recordings a task of a worker
_WORTH_WORKERS = (
    400  # starting workers takes as long as making about so many recordings
)


def demo_fingerprint(config: DemoConfig) -> str:
    """Return a hash of everything that decides what the cohort looks like."""
    return fingerprint({"generator": _GENERATOR_VERSION, **dataclasses.asdict(config)})


def make_demo(
    folder: str | Path, config: DemoConfig | None = None, n_jobs: int = -1
) -> Path:
    """Write the demo cohort into ``folder``; return the folder.

    A cohort that is there is not made again, and one that was interrupted or lost files
    is completed. The folder holds ``records/D00001.hea`` and ``.dat`` and so on;
    ``unified_label_mapping.csv`` (dataset, record_id, mapped_label: what a model is
    trained with, a few per cent of it wrong); ``demo_records.csv`` (record_id,
    patient_id, label: the truth, subtype, borderline, age, sex); and, written last,
    ``demo.json``.

    Args:
        folder: where to write; made when missing.
        config: what the cohort is made of; the default is 1,000 recordings.
        n_jobs: processes, -1 for one a core; small cohorts are made in this process
            alone.

    Raises:
        ConfigError: the folder holds another demo cohort.

    Example:
        >>> make_demo("artifacts/demo", DemoConfig(n_records=64))  # doctest: +SKIP
    """
    folder, config = Path(folder), config or DemoConfig()
    finished = _refuse_another_cohort(folder, config)
    missing = _missing_records(folder, config)
    if (
        finished
        and not missing
        and (folder / MAPPING_FILE).is_file()
        and (folder / RECORDS_FILE).is_file()
    ):
        return folder
    identity = {
        "fingerprint": demo_fingerprint(config),
        "config": dataclasses.asdict(config),
    }
    write_json(folder / STARTED_FILE, identity)
    remove_leftovers(folder)
    _write_records(folder / RECORDS_FOLDER, missing, config, n_jobs)
    table = _describe(config)
    write_csv(folder / MAPPING_FILE, table[["dataset", "record_id", "mapped_label"]])
    write_csv(folder / RECORDS_FILE, table.drop(columns=["dataset", "mapped_label"]))
    write_json(
        folder / FINISHED_FILE,
        identity | {"counts": table["label"].value_counts().to_dict()},
    )
    (folder / STARTED_FILE).unlink(missing_ok=True)
    return folder


def _refuse_another_cohort(folder: Path, config: DemoConfig) -> bool:
    """Return whether a finished cohort of this configuration is there; raise when it is
    one of another.
    """
    found = [
        folder / name
        for name in (FINISHED_FILE, STARTED_FILE)
        if (folder / name).is_file()
    ]
    for file in found:
        identity = _identity(file)
        if identity.get("fingerprint") != demo_fingerprint(config):
            differences = (
                _differences(identity.get("config", {}), config)
                or "it was made by another generator version"
            )
            raise ConfigError(
                f"{folder} holds another demo cohort: {differences}. "
                "Choose another folder, delete this one, or ask for the same configuration."
            )
    return bool(found) and found[0].name == FINISHED_FILE


def _identity(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file} is damaged. Delete the folder {file.parent} to make the demo cohort again."
        )
    return content


def _differences(had: dict[str, Any], config: DemoConfig) -> str:
    wanted = dataclasses.asdict(config)
    return ", ".join(
        f"{name} is {had.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if had.get(name) != value
    )


def _missing_records(folder: Path, config: DemoConfig) -> list[int]:
    """Return the positions of records that lack a header or all of their samples."""
    sizes = {
        file.name: file.stat().st_size
        for file in (folder / RECORDS_FOLDER).glob("D*.*")
    }
    whole = 2 * 12 * config.n_samples
    names = [(index, f"D{index + 1:05d}") for index in range(config.n_records)]
    return [
        index
        for index, name in names
        if sizes.get(f"{name}.dat") != whole or not sizes.get(f"{name}.hea")
    ]


def _write_records(
    folder: Path, indices: list[int], config: DemoConfig, n_jobs: int
) -> None:
    make_folder(folder)
    chunks = [
        indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)
    ]
    if len(indices) < _WORTH_WORKERS:
        n_jobs = 1
    tasks = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_write_chunk)(folder, chunk, config) for chunk in chunks
    )
    for _ in progress(tasks, total=len(chunks), title="demo cohort, parts"):
        pass


def _write_chunk(folder: Path, indices: Iterable[int], config: DemoConfig) -> None:
    for index in indices:
        write_record(folder, synthesise(index, config))


def _describe(config: DemoConfig) -> pd.DataFrame:
    cases = [plan_case(index, config) for index in range(config.n_records)]
    return pd.DataFrame(
        {
            "dataset": DATASET,
            "record_id": [case.record_id for case in cases],
            "mapped_label": [case.label for case in cases],
            "patient_id": [case.patient.patient_id for case in cases],
            "label": [case.true_label for case in cases],
            "subtype": [case.subtype for case in cases],
            "borderline": [case.borderline for case in cases],
            "age": [case.patient.age for case in cases],
            "sex": [case.patient.sex for case in cases],
        }
    )
