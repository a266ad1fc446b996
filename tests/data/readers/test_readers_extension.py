"""A reader from outside of the package: registering it is all that it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import running_file_server, sha256

import ecgnb
from ecgnb.core.errors import ReadError
from ecgnb.data.catalog import find_records
from ecgnb.data.catalog.download_dataset import download
from ecgnb.data.config import DataConfig, PrepareConfig
from ecgnb.data.labels.assign import load_cohort
from ecgnb.data.readers.base import (
    READERS,
    Reader,
    ReadRequest,
    resolve_window,
)
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.data.store.preparation import prepare_store
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import save_bundle
from ecgnb.models import build_model
from ecgnb.transforms.pipeline import build_pipeline

RNG = np.random.default_rng(0)
CLASSES = ("AF", "NORM")


@pytest.fixture(autouse=True)
def toy_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a reader of a format that this test invents."""
    monkeypatch.setattr(READERS, "_entries", dict(READERS._entries))
    monkeypatch.setattr(READERS, "_about", dict(READERS._about))

    @READERS.register("toy")
    class ToyReader(Reader):
        suffixes = (".toy",)

        def read(self, path: Path, request: ReadRequest) -> Recording:
            content = json.loads(path.read_text())
            signal = np.array(content["mv"], dtype=np.float32)
            window = resolve_window(request, signal.shape[1], path)
            return Recording(
                signal=signal[:, window.start : window.stop],
                fs=content["fs"],
                leads=STANDARD_12,
                record_id=request.record_id or path.stem,
            )

        def is_recording(self, path: Path) -> bool:
            return "mv" in json.loads(path.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, another JSON file of the same suffix, and a label file."""
    folder = tmp_path / "recordings"
    (folder / "b").mkdir(parents=True)
    for name in ("a1", "a2", "b/b1"):
        signal = RNG.normal(0, 0.5, (12, 200)).round(3).tolist()
        text = json.dumps({"fs": 100.0, "mv": signal})
        (folder / f"{name}.toy").write_text(text)
    (folder / "settings.toy").write_text("{}")
    (folder / "unified_label_mapping.csv").write_text(
        "dataset,record_id,mapped_label\nx,a1.toy,NORM\nx,a2,AF\nx,b/b1.TOY,AF\n"
    )
    return folder


def test_its_files_are_found_in_a_folder(folder: Path) -> None:
    manifest = find_records("folder", folder)
    assert manifest["record_id"].tolist() == ["a1", "a2", "b1"]
    assert manifest["path"].str.endswith(".toy").all()


def test_its_files_are_read(folder: Path) -> None:
    expected = np.float32(json.loads((folder / "a2.toy").read_text())["mv"])
    recording = ecgnb.read_recording(folder / "a2.toy", start=50)
    assert (recording.record_id, recording.fs) == ("a2", 100.0)
    np.testing.assert_array_equal(recording.signal, expected[:, 50:])
    (folder / "a.unknown").touch()
    with pytest.raises(ReadError, match=r"There are readers for .*, \.toy"):
        ecgnb.read_recording(folder / "a.unknown")


def test_its_files_are_labelled_by_a_mapping(folder: Path) -> None:
    config = DataConfig(dataset_dir=str(folder), label_order=CLASSES)
    cohort = load_cohort(config, folder, folder, target_fs=100)
    assert cohort.manifest["label"].tolist() == ["NORM", "AF", "AF"]
    assert cohort.coverage.n_labelled == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_its_files_are_prepared_also_by_several_processes(
    folder: Path, tmp_path: Path, n_jobs: int
) -> None:
    config = PrepareConfig(
        target_fs=100.0, target_samples=200, shard_size=2, n_jobs=n_jobs
    )
    store = prepare_store(find_records("folder", folder), config, tmp_path / "store")
    assert store.records["record_id"].tolist() == ["a1", "a2", "b1"]
    assert store.rejected.empty


def test_its_files_are_predicted_alone_and_in_a_folder(
    folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = build_model(
        "resnet1d", n_leads=12, n_samples=200, fs=100.0, n_classes=2,
        leads=STANDARD_12, task="multiclass", widths=(4,), depths=(1,), norm="group",
    )  # fmt: skip
    bundle = Bundle(
        model=model.eval(),
        classes=CLASSES,
        task="multiclass",
        prepare=PrepareConfig(target_fs=100.0, target_samples=200, leads=STANDARD_12),
        transforms=build_pipeline(["zscore"]),
    )
    save_bundle(bundle, tmp_path / "bundle")
    table = ecgnb.predict(folder, run=tmp_path / "bundle")
    assert table["record_id"].tolist() == ["a1", "a2", "b1"]
    assert (table["problem"] == "").all()
    np.testing.assert_allclose(table[list(CLASSES)].sum(axis=1), 1)
    alone = ecgnb.predict(folder / "a2.toy", run=tmp_path / "bundle")
    np.testing.assert_allclose(
        alone[list(CLASSES)], table.loc[[1], list(CLASSES)], atol=1e-6
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    with running_file_server(monkeypatch) as running:
        yield running


def test_its_files_are_downloaded(server, folder: Path, tmp_path: Path) -> None:
    content = (folder / "a1.toy").read_bytes()
    server.files["data/a1.toy"] = content
    server.sums["data/a1.toy"] = sha256(content)
    download("ludb", tmp_path / "ludb", base_url=server.base_url)
    manifest = find_records("folder", tmp_path / "ludb")
    assert "a1" in manifest["record_id"].tolist()
