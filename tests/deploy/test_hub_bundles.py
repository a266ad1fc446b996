"""A bundle goes to the hub and comes back as it was; nothing else goes with it.

Uploads go the way of git LFS here; with Xet storage, which the library prefers where
hf-xet is installed, the bytes go through code of its own that a small server cannot
answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import FakeHub, running_hub

from ecgnb.core.errors import CheckpointError, ConfigError, EcgnbError
from ecgnb.core.files import read_json, seal, write_sealed
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import load_bundle, save_bundle
from ecgnb.deploy.card import model_card
from ecgnb.deploy.hub_bundles import from_hub, push_to_hub
from ecgnb.deploy.inference import predict_recordings


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    home = tmp_path / "home"
    home.mkdir()
    with running_hub(home, monkeypatch) as running:
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        yield running


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    folder = save_bundle(bundle, tmp_path / "bundle")
    (folder / "notes.txt").write_text("patient 4711", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "model.safetensors").write_bytes(b"another")
    return folder


@pytest.fixture
def recording() -> Recording:
    signal = (
        np.random.default_rng(0)
        .normal(size=(12, 1000))
        .cumsum(axis=1)
        .astype(np.float32)
        / 50
    )
    return Recording(record_id="r", signal=signal, fs=100.0, leads=STANDARD_12)


def test_a_bundle_comes_back_and_predicts_bit_for_bit_the_same(
    hub: FakeHub, folder: Path, bundle: Bundle, recording: Recording
) -> None:
    pushed = push_to_hub(folder, "clinic/ecg")
    result = from_hub("clinic/ecg", pushed.revision)
    assert predict_recordings(result, recording).equals(
        predict_recordings(bundle, recording)
    )
    for field in dataclasses.fields(Bundle):
        if field.name != "model":
            assert getattr(result, field.name) == getattr(bundle, field.name), (
                field.name
            )
    expected_values, actual_values = (
        bundle.model.state_dict(),
        result.model.state_dict(),
    )
    assert list(expected_values) == list(actual_values) and all(
        torch.equal(expected_values[name], actual_values[name])
        for name in expected_values
    )
    hub.requests.clear()
    from_hub("clinic/ecg", pushed.revision)
    assert not hub.requests, "a pinned bundle of the cache needs no network"


def test_exactly_the_files_of_the_bundle_go_up_as_one_private_commit(
    hub: FakeHub, folder: Path, bundle: Bundle
) -> None:
    pushed = push_to_hub(folder, "clinic/ecg", message="First")
    repository = hub.repositories["clinic/ecg"]
    assert repository.private and repository.messages == ["First"]
    assert (pushed.repository, pushed.revision) == (
        "clinic/ecg",
        list(repository.commits)[-1],
    )
    assert pushed.url == f"{hub.url}/clinic/ecg/commit/{pushed.revision}"
    files = repository.files()
    assert sorted(files) == ["README.md", "bundle.json", "model.safetensors"]
    for name in ("bundle.json", "model.safetensors"):
        assert files[name] == (folder / name).read_bytes()
    assert files["README.md"].decode() == model_card(bundle, "clinic/ecg")
    sent = [item for item in hub.requests if item.server == "hub"]
    assert {item.authorization for item in sent} == {"Bearer hf_writer"}
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["README.md", "bundle.json", "model.safetensors", "notes.txt", "sub"]


def test_a_card_that_somebody_worked_on_stays(
    hub: FakeHub, folder: Path, bundle: Bundle
) -> None:
    (folder / "README.md").write_text(model_card(bundle), encoding="utf-8")
    push_to_hub(folder, "clinic/ecg")
    assert hub.repositories["clinic/ecg"].files()["README.md"].decode() == model_card(
        bundle, "clinic/ecg"
    )
    (folder / "README.md").write_text("# Ours\n", encoding="utf-8")
    push_to_hub(folder, "clinic/ecg")
    assert hub.repositories["clinic/ecg"].files()["README.md"] == b"# Ours\n"


def test_paths_of_this_machine_stay_here(hub: FakeHub, folder: Path) -> None:
    description = read_json(folder / "bundle.json")
    description["provenance"] = {
        "run": "demo",
        "parameters": {"EPOCHS": 3, "DATASET_DIR": "/home/anna/ptbxl"},
    }
    write_sealed(folder / "bundle.json", description)
    push_to_hub(folder, "clinic/ecg")
    sent = json.loads(hub.repositories["clinic/ecg"].files()["bundle.json"])
    assert sent == seal(
        description | {"provenance": {"run": "demo", "parameters": {"EPOCHS": 3}}}
    )
    assert from_hub("clinic/ecg").provenance == sent["provenance"]
    assert read_json(folder / "bundle.json") == seal(description)


def test_what_is_public_is_not_pushed_to_by_mistake(hub: FakeHub, folder: Path) -> None:
    hub.add("clinic/open", {"README.md": b""})
    with pytest.raises(
        ConfigError, match=r"clinic/open is public already\. Pass private=False"
    ):
        push_to_hub(folder, "clinic/open")
    assert sorted(hub.repositories["clinic/open"].files()) == ["README.md"]
    push_to_hub(folder, "clinic/open", private=False)
    assert "model.safetensors" in hub.repositories["clinic/open"].files()
    push_to_hub(folder, "clinic/new", private=False)
    assert not hub.repositories["clinic/new"].private


def test_a_folder_that_is_no_whole_bundle_never_reaches_the_hub(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"has no readable bundle\.json"):
        push_to_hub(tmp_path, "clinic/ecg")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="checksum differs"):
        push_to_hub(folder, "clinic/ecg")
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", r"Pushing needs a token: .*set it as HF_TOKEN"),
        (
            "hf_reader",
            r"does not allow this with clinic/ecg to the token in HF_TOKEN.*write it for a push",
        ),
    ],
)
def test_a_push_without_the_right_to_write_is_refused(
    hub: FakeHub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    message: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=message):
        push_to_hub(folder, "clinic/ecg")
    assert not hub.repositories


def test_a_push_without_network_or_with_a_name_that_is_none(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"'clinic/a/b' is no name of a repository\. Give it as 'owner/repository'",
    ):
        push_to_hub(folder, "clinic/a/b")
    hub.fault = "no storage"
    with pytest.raises(EcgnbError, match=r"answers 507 for clinic/ecg"):
        push_to_hub(folder, "clinic/ecg")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ConfigError, match="HF_HUB_OFFLINE is set, so nothing can be pushed"
    ):
        push_to_hub(folder, "clinic/ecg")


def test_what_is_no_bundle_on_the_hub_and_what_is_a_damaged_one(
    hub: FakeHub, folder: Path
) -> None:
    hub.add("clinic/other", {"model.safetensors": b"x"})
    with pytest.raises(ConfigError, match=r"clinic/other has no file 'bundle\.json'"):
        from_hub("clinic/other")
    hub.add(
        "clinic/mixed",
        {
            "bundle.json": (folder / "bundle.json").read_bytes(),
            "model.safetensors": b"another",
        },
    )
    with pytest.raises(CheckpointError, match="its checksum differs"):
        from_hub("clinic/mixed")


def test_the_lines_of_the_card_work(
    hub: FakeHub,
    folder: Path,
    bundle: Bundle,
    recording: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push_to_hub(folder, "clinic/ecg")
    card = hub.repositories["clinic/ecg"].files()["README.md"].decode()
    np.savez(
        tmp_path / "recording.npz",
        ecg=recording.signal,
        fs=100,
        leads=np.array(STANDARD_12),
        units="mV",
    )
    lines = (
        card.partition("```python\n")[2]
        .partition("```")[0]
        .replace("recording.hea", "recording.npz")
    )
    assert len(lines.splitlines()) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(lines, names)
    wanted = predict_recordings(bundle, tmp_path / "recording.npz")
    assert names["table"].drop(columns=["run", "model"]).equals(wanted)
    assert load_bundle(folder).classes == bundle.classes
