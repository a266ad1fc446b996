"""Preflight: what could stop or spoil a run, checked before it starts.

A check is a function of the run that returns findings; each has a status (pass, warn, fail) and says what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from packaging.version import Version

from ecgnb.data.cohort import DEMO_RECORDS, MAPPING_NAME, DataConfig, resolve
from ecgnb.data.labels import read_mapping
from ecgnb.environment import describe_gpus, package_version
from ecgnb.errors import CheckpointError, ConfigError, EcgnbError
from ecgnb.run import Run

RECORDING_SUFFIXES = (".hea", ".mat", ".csv", ".npy", ".npz")

#: Files by which a folder is recognised as a known data set.
SIGNATURES = {
    "ptbxl": "ptbxl_database.csv",
    "ludb": "ludb.csv",
    "cinc2017": "REFERENCE.csv",
}


@dataclass(frozen=True)
class Finding:
    """One line of the preflight table."""

    check: str
    status: str
    finding: str
    what_to_do: str = ""


def preflight(run: Run) -> pd.DataFrame:
    """Check data, labels, model, store, splits, hardware, disk and versions for a run.

    Returns:
        A row a check: ``check, status (pass | warn | fail), finding, what_to_do``.

    Raises:
        EcgnbError: a check failed; the message lists what failed and what to do.
    """
    checks = (check_data, check_labels, check_recipe, check_store, check_splits, check_gpu, check_disk, check_versions)
    findings = [finding for check in checks for finding in check(run)]
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        raise EcgnbError(
            "The preflight found what would stop this run:\n"
            + "\n".join(f"- {each.check}: {each.finding} {each.what_to_do}" for each in failed)
        )
    return pd.DataFrame([asdict(finding) for finding in findings])


def check_data(run: Run) -> Iterator[Finding]:
    """The data folder is there and holds recordings."""
    data = run.config.data
    if data.name == "demo":
        yield Finding("data", "pass", f"synthetic demo cohort, {data.preprocess_limit or DEMO_RECORDS} recordings")
        return
    folder = resolve(data.dataset_dir, run.root)
    if not data.dataset_dir or not folder.is_dir():
        yield Finding(
            "data",
            "fail",
            f"DATASET_DIR is {data.dataset_dir!r}, which is no folder ({folder}).",
            "Give the folder of recordings.",
        )
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield Finding("data", "fail", f"{folder} cannot be read.", "Give yourself the right to read it.")
        return
    first = next(_recordings(folder), None)
    if first is None:
        kinds = ", ".join(RECORDING_SUFFIXES)
        yield Finding("data", "fail", f"{folder} holds no recordings.", f"Readable are files with {kinds}.")
        return
    yield Finding("data", "pass", f"{folder} holds recordings (such as {first.name})")


def check_labels(run: Run) -> Iterator[Finding]:
    """A label file is there, with its coverage where the cohort is known already."""
    done = run.record("cohort")
    if done:
        results = done["results"]
        share = results["n_labelled"] / max(results["n_found"], 1)
        status = "pass" if share > 0.5 else "warn"
        advice = "" if share > 0.5 else "Look at the coverage table of the cohort and at the label file."
        found = f"{results['n_labelled']} of {results['n_found']} recordings have a label ({share:.0%})"
        yield Finding("labels", status, found, advice)
        return
    data = run.config.data
    if data.name == "demo":
        yield Finding("labels", "pass", "the demo cohort brings its own")
    elif data.name != "folder":
        yield Finding("labels", "pass", f"from the files of {data.name}")
    else:
        yield _label_file(data, run.root)


def _label_file(data: DataConfig, root: Path) -> Finding:
    folder = resolve(data.dataset_dir, root)
    file = resolve(data.mapping_csv, root) if data.mapping_csv else folder / MAPPING_NAME
    if file.is_file():
        try:
            rows = len(read_mapping(file))
        except EcgnbError as error:
            return Finding("labels", "fail", str(error))
        return Finding("labels", "pass", f"{file.name} is there, {rows} rows")
    looks_like = next((name for name, signature in SIGNATURES.items() if (folder / signature).is_file()), "")
    advice = "Write it (columns dataset, record_id, mapped_label), or name another with MAPPING_CSV{}."
    hint = f"; this looks like {looks_like}: set DATASET={looks_like!r}" if looks_like else ""
    return Finding("labels", "fail", f"There is no label file {file}.", advice.format(hint))


def check_recipe(run: Run) -> Iterator[Finding]:
    """Model, options and transforms are ones that can be built; better known now than after the preparation."""
    import torch

    from ecgnb.deploy.ported import open_bundle
    from ecgnb.models import build_model
    from ecgnb.transforms.pipeline import build_pipeline

    model, prepare, transforms = run.config.model, run.config.prepare, run.config.transforms
    n_leads, n_samples, fs = len(prepare.leads) or 12, prepare.target_samples, prepare.target_fs
    try:
        pipeline = build_pipeline([*transforms.transforms, *transforms.augment])
        pipeline(torch.zeros(1, n_leads, n_samples), fs=fs, keys=torch.zeros(1, dtype=torch.int64))
        words: Any = {"n_leads": n_leads, "n_samples": n_samples, "fs": fs, "n_classes": 2, **model.model_options}
        if model.start_from:
            prepared = open_bundle(model.start_from).prepare
            wanted = {"TARGET_FS": prepared.target_fs, "TARGET_SAMPLES": prepared.target_samples}
            wrong = [name for name, value in wanted.items() if getattr(prepare, name.lower()) != value]
            if wrong:
                given = " ".join(f"-p {name} {wanted[name]:g}" for name in wrong)
                raise ConfigError(f"START_FROM={model.start_from!r} was trained otherwise: give {given}.")
        else:
            with torch.device("meta"):  # shapes without numbers: it takes no memory, however large the model
                build_model(model.model, **words)
    except (ConfigError, CheckpointError) as error:
        yield Finding("model", "fail", str(error), "Correct that parameter.")
        return
    steps = ", ".join(transform.name for transform in pipeline) or "no transforms"
    yield Finding("model", "pass", f"{model.start_from or model.model} behind {steps}")


def check_store(run: Run) -> Iterator[Finding]:
    """The prepared signals are there and whole, where preparation is done."""
    if run.record("prepare") is None:
        yield Finding("store", "pass", "not made yet")
        return
    try:
        store = run.store
    except EcgnbError as error:
        yield Finding("store", "warn", str(error), "Run the preparation cell again.")
        return
    yield Finding("store", "pass", f"{len(store)} recordings, {store.n_leads} leads at {store.fs:g} Hz")


def check_splits(run: Run) -> Iterator[Finding]:
    """No patient and no identical signal is in two splits, where splits are made."""
    from ecgnb.data.splits import find_leakage

    if run.record("split") is None:
        yield Finding("splits", "pass", "not made yet")
        return
    try:
        leaks = find_leakage(run.records, run.splits)
    except EcgnbError as error:
        yield Finding("splits", "warn", str(error), "Run the preparation and the split again.")
        return
    if len(leaks):
        what = f"{len(leaks)} patients or identical signals are in two splits."
        yield Finding("splits", "warn", what, "See `splits.json`; use SPLIT='stratified' to keep patients together.")
    else:
        yield Finding("splits", "pass", "no patient and no identical signal in two splits")


def check_gpu(run: Run) -> Iterator[Finding]:
    """The GPU and its memory, against what the profile needs."""
    gpus = describe_gpus()
    if not gpus:
        slow = run.config.profile != "smoke"
        advice = "Training a full data set takes hours; a GPU is many times faster." if slow else ""
        yield Finding("GPU", "warn" if slow else "pass", "none; training runs on the CPU", advice)
    for gpu in gpus:
        tight = gpu["free_gb"] is not None and gpu["free_gb"] < 4
        advice = "Close what else uses it, or lower BATCH_SIZE_GPU." if tight else ""
        yield Finding("GPU", "warn" if tight else "pass", f"{gpu['name']}, {gpu['free_gb']} GB free", advice)


def check_disk(run: Run) -> Iterator[Finding]:
    """Free space against the estimated need of the store, the demo cohort and the run."""
    config = run.config
    done = run.record("cohort")
    limit = config.data.preprocess_limit
    records = done["results"]["n_recordings"] if done else limit or _count_recordings(config.data, run.root)
    leads = len(config.prepare.leads) or 12
    stored = records * leads * config.prepare.target_samples * 2  # two bytes a sample
    demo = records * 12 * 5000 * 2 if config.data.name == "demo" else 0
    need = 1.1 * (stored + demo) + 200e6  # the run's own files: checkpoints, figures, report
    free = shutil.disk_usage(run.root).free
    finding = f"{free / 1e9:.1f} GB free, about {need / 1e9:.1f} GB needed"
    if free < need:
        yield Finding("disk", "fail", finding + ".", "Free some space, or lower PREPROCESS_LIMIT.")
    else:
        yield Finding("disk", "pass", finding)


def _count_recordings(data: DataConfig, root: Path) -> int:
    """Count files of one name once: a recording may be a header, a signal file and annotations."""
    if data.name == "demo":
        return DEMO_RECORDS
    return len({file.with_suffix("") for file in _recordings(resolve(data.dataset_dir, root))})


def _recordings(folder: Path) -> Iterator[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in RECORDING_SUFFIXES)
    return (file for file in files if file.name != MAPPING_NAME)


#: Versions that do not work together: a package below a version, with another from a version on, and why.
KNOWN_TROUBLE: tuple[tuple[str, str, str, str, str], ...] = (
    ("torch", "2.6", "python", "3", "reading a checkpoint could run code in it before 2.6"),
    ("pandas", "2.2.2", "numpy", "2", "it was built for numpy 1"),
    ("scipy", "1.13", "numpy", "2", "it was built for numpy 1"),
    ("scikit-learn", "1.4.2", "numpy", "2", "it was built for numpy 1"),
    ("matplotlib", "3.9", "numpy", "2", "it was built for numpy 1"),
    ("wfdb", "4.2", "numpy", "2", "it was made for numpy 1"),
    ("numpy", "2", "python", "3", "ecgnb needs numpy 2"),
    ("seaborn", "0.13", "pandas", "3", "it sets an option that pandas 3 removed"),
    ("lightning-fabric", "2.5", "torch", "2.6", "it was made before torch 2.6 changed how checkpoints are loaded"),
)


def check_versions(_: Run) -> Iterator[Finding]:
    """Library versions that are known not to work together."""
    trouble = []
    for package, needed, other, since, why in KNOWN_TROUBLE:
        versions = package_version(package), platform.python_version() if other == "python" else package_version(other)
        if versions[0] == "not installed":
            trouble.append(Finding("versions", "fail", f"{package} is not installed.", f"pip install {package}"))
        elif Version(versions[0]) < Version(needed) and Version(versions[1]) >= Version(since):
            what = f"{package} {versions[0]} with {other} {versions[1]}: {why}."
            trouble.append(Finding("versions", "fail", what, f"pip install '{package}>={needed}'"))
    yield from trouble or [Finding("versions", "pass", "no known trouble among the installed versions")]
