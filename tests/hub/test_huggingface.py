"""Files of the hub arrive whole, once, of a known commit, and with no token that nobody
gave."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hub_server import FakeHub

from ecgnb.core.errors import (
    CheckpointError,
    ConfigError,
    EcgnbError,
    FileError,
)
from ecgnb.hub import download
from ecgnb.hub import huggingface as module
from ecgnb.hub.huggingface import Fetched, fetch, fetch_folder, is_hub_name

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "wanglab/ecg-fm/model.pt"


@pytest.fixture
def commit(hub: FakeHub) -> str:
    return hub.add("wanglab/ecg-fm", {"model.pt": CONTENT, "README.md": b"# A model\n"})


def blob(home: Path) -> Path:
    return home / "hub" / "models--wanglab--ecg-fm" / "blobs" / SHA256


def test_a_file_arrives_once_and_is_found_in_the_cache(
    hub: FakeHub, commit: str, home: Path
) -> None:
    first = fetch(NAME)
    assert first.path.read_bytes() == CONTENT
    assert dataclasses.astuple(first)[1:] == (
        "wanglab/ecg-fm",
        "model.pt",
        commit,
    )
    assert (
        first.path
        == home / "hub" / "models--wanglab--ecg-fm" / "snapshots" / commit / "model.pt"
    )
    assert len(hub.asked("GET", "storage")) == 1
    hub.requests.clear()
    assert fetch(NAME) == first
    assert {request.method for request in hub.requests} == {"HEAD"}
    assert not list(blob(home).parent.glob("*.part"))


def test_the_library_finds_what_we_fetched_and_we_what_it_fetched(
    hub: FakeHub, commit: str
) -> None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    ours = fetch(NAME)
    assert try_to_load_from_cache("wanglab/ecg-fm", "model.pt") == str(ours.path)
    theirs = hf_hub_download("wanglab/ecg-fm", "README.md", token=False)
    hub.requests.clear()
    assert fetch("wanglab/ecg-fm/README.md").path == Path(theirs)
    assert not hub.asked("GET")


def test_a_newest_commit_is_told_and_a_pinned_one_needs_no_network(
    hub: FakeHub,
    commit: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    fetch(NAME)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Fetching wanglab/ecg-fm/model.pt, 0.3 MB"
    assert (
        lines[1]
        == f"wanglab/ecg-fm: commit {commit}; pass revision='{commit}' to keep this one."
    )
    newer = hub.add("wanglab/ecg-fm", {"model.pt": CONTENT[::-1]})
    assert fetch(NAME).revision == newer != commit
    hub.requests.clear()
    capsys.readouterr()
    pinned = fetch(NAME, commit)
    assert pinned.revision == commit
    assert pinned.path.read_bytes() == CONTENT
    assert not hub.requests and not capsys.readouterr().out


def test_a_repository_with_one_file_of_weights_needs_no_file_name(
    hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch("wanglab/ecg-fm").file == "model.pt"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("wanglab/ecg-fm").path.read_bytes() == CONTENT
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.add("wanglab/ecg-fm", {"heads/second.safetensors": b"s"})
    with pytest.raises(
        ConfigError,
        match=r"2 files of weights: heads/second\.safetensors, model\.pt\. Name the one",
    ):
        fetch("wanglab/ecg-fm")
    found = fetch("wanglab/ecg-fm/heads/second.safetensors")
    assert (
        found.path.read_bytes() == b"s"
        and found.revision == list(hub.repositories["wanglab/ecg-fm"].commits)[-1]
    )
    hub.add("wanglab/empty", {"README.md": b""})
    with pytest.raises(ConfigError, match=r"has no file of weights: README\.md"):
        fetch("wanglab/empty")


def test_a_cut_connection_is_taken_up_where_it_broke(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cuts = [120_000]
    assert fetch(NAME).path.read_bytes() == CONTENT
    assert [request.range for request in hub.asked("GET", "storage")] == [
        "",
        "bytes=120000-",
    ]


def test_a_download_that_was_given_up_goes_on_the_next_time(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cuts = [160_000] + [0] * 20
    with pytest.raises(
        EcgnbError, match=r"cannot be fetched: .*what has arrived is kept"
    ):
        fetch(NAME)
    part = blob(home).with_name(f"{SHA256}.part")
    assert part.read_bytes() == CONTENT[:160_000] and not blob(home).exists()
    hub.cuts = []
    hub.requests.clear()
    assert fetch(NAME).path.read_bytes() == CONTENT
    assert [request.range for request in hub.asked("GET", "storage")] == [
        "bytes=160000-"
    ]
    assert not part.exists()


def test_fewer_bytes_than_announced_are_kept_and_completed(
    hub: FakeHub, commit: str, home: Path
) -> None:
    hub.fault = "short"
    with pytest.raises(
        EcgnbError, match=r"the server sent 150000 of 300000 .*what has arrived is kept"
    ):
        fetch(NAME)
    hub.fault = ""
    assert fetch(NAME).path.read_bytes() == CONTENT
    assert hub.asked("GET", "storage")[-1].range == "bytes=150000-"


def test_a_beginning_of_something_else_is_thrown_away(
    hub: FakeHub, commit: str, home: Path
) -> None:
    part = blob(home).with_name(f"{SHA256}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(CONTENT) + 1))
    assert fetch(NAME).path.read_bytes() == CONTENT
    fetch(NAME).path.resolve().unlink()
    part.write_bytes(bytes(1000))
    assert fetch(NAME).path.read_bytes() == CONTENT


def test_two_at_once_fetch_once(hub: FakeHub, commit: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, [NAME] * 4))
    assert len(set(found)) == 1 and len(hub.asked("GET", "storage")) == 1


def test_wrong_bytes_never_enter_the_cache(
    hub: FakeHub, commit: str, home: Path
) -> None:
    hub.fault = "wrong bytes"
    with pytest.raises(
        CheckpointError,
        match=rf"published is {SHA256[:16]}.*deleted; fetch the file again",
    ):
        fetch(NAME)
    assert not list(blob(home).parent.iterdir())
    hub.fault = ""
    assert fetch(NAME).path.read_bytes() == CONTENT


@pytest.mark.parametrize("file", ["model.pt", "README.md"])
def test_a_cached_file_that_changed_is_refused_and_named(
    hub: FakeHub, commit: str, file: str
) -> None:
    found = fetch(f"wanglab/ecg-fm/{file}", commit).path
    if not found.is_symlink():
        pytest.skip("this system's cache has no links, and so no checksums")
    content = bytearray(found.read_bytes())
    content[5] ^= 1
    found.resolve().write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the hub's is .*Delete ") as refused:
        fetch(f"wanglab/ecg-fm/{file}", commit)
    Path(str(refused.value).partition("Delete ")[2].partition(" and fetch")[0]).unlink()
    assert fetch(f"wanglab/ecg-fm/{file}", commit).path.read_bytes() != bytes(content)


def test_a_cache_without_links_holds_the_file_once(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    assert fetch(NAME).path.read_bytes() == CONTENT
    assert not fetch(NAME).path.is_symlink() and not blob(home).exists()
    assert len(hub.asked("GET", "storage")) == 1
    fetch(NAME).path.write_bytes(CONTENT[::-1])
    with pytest.raises(CheckpointError, match="the hub's is"):
        fetch(NAME)


def test_a_full_disk_is_seen_before_and_during_the_download(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            download.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000)
        )
        with pytest.raises(
            FileError,
            match=r"model\.pt has 0\.3 MB, and .* has room for 0\.1 MB\. Make room, .*HF_HOME",
        ):
            fetch(NAME)
    assert not hub.asked("GET")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home))

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", full)
        with pytest.raises(
            FileError, match=r"The disk is full: .*Make room"
        ) as refused:
            fetch(NAME)
    assert refused.value.errno == errno.ENOSPC
    assert fetch(NAME).path.read_bytes() == CONTENT


def test_names_of_the_hub_and_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    there = ["wanglab/ecg-fm", "a/b-v1.5", "a/b/c.pt", "a/b/c/d (1).safetensors"]
    here = [
        "runs/first",
        "model.pt",
        "runs/model.pt",
        "./a/b",
        "../a/b",
        "/a/b",
        "~/a",
        "C:/a/b.pt",
        "a\\b\\c.pt",
        "a/b/c",
    ]
    assert [
        name
        for name in there
        + here
        + ["", "a/", "a/b/", "a/b/../c.pt", "latest", "a/" + "b" * 999]
        if is_hub_name(name)
    ] == there


def test_a_folder_is_of_one_commit_also_when_another_comes_between(
    hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_and_commit(*about: str) -> Fetched:
        fetched = fetch(*about)
        hub.add("wanglab/ecg-fm", {"model.pt": CONTENT[::-1]})
        return fetched

    monkeypatch.setattr(module, "fetch", fetch_and_commit)
    folder = fetch_folder("wanglab/ecg-fm", ("README.md", "model.pt"))
    assert folder.name == commit and (folder / "model.pt").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.pt"]


def test_importing_asks_for_no_optional_package() -> None:
    import subprocess

    code = "import sys, ecgnb.hub.huggingface; print([n for n in sys.modules if n.startswith(('huggingface', 'torch'))])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
