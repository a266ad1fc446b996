"""Files of the hub arrive whole, once, of a known commit, and with no token that nobody
gave."""

from __future__ import annotations

import builtins
import dataclasses
import errno
import hashlib
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hub_server import FakeHub, hub_at_home

from ecgnb.core.errors import (
    CheckpointError,
    ConfigError,
    EcgnbError,
    FileError,
    MissingExtraError,
)
from ecgnb.hub import download as hub_module
from ecgnb.hub.download import Fetched, fetch, fetch_folder, is_hub_name

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "wanglab/ecg-fm/model.pt"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_at_home(home, monkeypatch) as running:
        yield running


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
        SHA256,
    )
    assert (
        first.path
        == home / "hub" / "models--wanglab--ecg-fm" / "snapshots" / commit / "model.pt"
    )
    assert len(hub.asked("GET", "storage")) == 1
    hub.requests.clear()
    assert fetch(NAME) == first
    assert {each.method for each in hub.requests} == {"HEAD"}
    assert not list(blob(home).parent.glob("*.incomplete"))


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
        == f"wanglab/ecg-fm: commit {commit}; with revision='{commit}' it stays this one."
    )
    newer = hub.add("wanglab/ecg-fm", {"model.pt": CONTENT[::-1]})
    assert fetch(NAME).revision == newer != commit
    hub.requests.clear()
    capsys.readouterr()
    pinned = fetch(NAME, commit)
    assert (pinned.revision, pinned.sha256) == (commit, SHA256)
    assert not hub.requests and not capsys.readouterr().out


def test_a_repository_with_one_file_of_weights_needs_no_file_name(
    hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch("wanglab/ecg-fm").file == "model.pt"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("wanglab/ecg-fm").sha256 == SHA256
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
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.cuts = [120_000]
    assert fetch(NAME).path.read_bytes() == CONTENT
    assert [each.range for each in hub.asked("GET", "storage")] == ["", "bytes=100000-"]


def test_a_download_that_was_given_up_goes_on_the_next_time(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.cuts = [160_000] + [0] * 20
    with pytest.raises(EcgnbError, match=r"does not answer .*what came so far is kept"):
        fetch(NAME)
    part = blob(home).with_name(f"{SHA256}.incomplete")
    assert part.read_bytes() == CONTENT[:150_000] and not blob(home).exists()
    hub.cuts = []
    hub.requests.clear()
    assert fetch(NAME).sha256 == SHA256
    assert [each.range for each in hub.asked("GET", "storage")] == ["bytes=150000-"]
    assert not part.exists()


def test_fewer_bytes_than_announced_are_kept_and_completed(
    hub: FakeHub, commit: str, home: Path
) -> None:
    hub.fault = "short"
    with pytest.raises(
        CheckpointError, match=r"did not arrive whole.*what came so far is kept"
    ):
        fetch(NAME)
    hub.fault = ""
    assert fetch(NAME).sha256 == SHA256
    assert [each.range for each in hub.asked("GET", "storage")] == ["", "bytes=150000-"]


def test_a_beginning_of_something_else_is_thrown_away(
    hub: FakeHub, commit: str, home: Path
) -> None:
    part = blob(home).with_name(f"{SHA256}.incomplete")
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(CONTENT) + 1))
    assert fetch(NAME).sha256 == SHA256
    fetch(NAME).path.resolve().unlink()
    part.write_bytes(bytes(1000))
    with pytest.raises(CheckpointError, match="fetch the file again"):
        fetch(NAME)
    assert fetch(NAME).sha256 == SHA256


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
        match=rf"the hub tells {SHA256[:16]}.*deleted; fetch the file again",
    ):
        fetch(NAME)
    assert not list(blob(home).parent.iterdir())
    hub.fault = ""
    assert fetch(NAME).sha256 == SHA256


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
    with pytest.raises(CheckpointError, match=r"the hub tells .*Delete ") as refused:
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
    with pytest.raises(CheckpointError, match="the hub tells"):
        fetch(NAME)


def test_offline_the_cache_is_used_or_the_error_says_so(
    hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        EcgnbError,
        match=r"model\.pt is not in the cache, and HF_HUB_OFFLINE forbids to fetch it",
    ):
        fetch(NAME)
    with pytest.raises(
        EcgnbError, match=r"wanglab/ecg-fm is not in the cache, and HF_HUB_OFFLINE"
    ):
        fetch("wanglab/ecg-fm")
    assert not hub.requests
    monkeypatch.delenv("HF_HUB_OFFLINE")
    there = fetch(NAME)
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch(NAME) == there and not hub.requests


def test_without_a_connection_the_cache_is_used_or_the_error_says_so(
    hub: FakeHub,
    commit: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = fetch(NAME)
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/{revision}/{filename}",
    )
    assert fetch(NAME) == there
    assert (
        "does not answer; wanglab/ecg-fm/model.pt is the one in the cache"
        in capsys.readouterr().out
    )
    with pytest.raises(
        EcgnbError,
        match=r"does not answer \(ConnectError.*Check the connection, a proxy, and HF_ENDPOINT",
    ):
        fetch("wanglab/ecg-fm/README.md")


def test_a_hub_that_is_down(
    hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = fetch(NAME)
    hub.fault = 503
    assert fetch(NAME) == there
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(
        EcgnbError,
        match=r"answers 503 for wanglab/ecg-fm: no service today, \.\.\.\. Run the same again",
    ):
        fetch("wanglab/ecg-fm/README.md")


def test_the_token_is_that_of_the_environment_and_goes_to_the_hub_alone(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (home / "token").read_text() == "hf_stored"
    fetch("wanglab/ecg-fm")
    assert {each.authorization for each in hub.requests} == {""}
    shutil.rmtree(home / "hub")
    hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", " hf_reader\n")
    fetch("wanglab/ecg-fm")
    assert {
        each.authorization for each in hub.asked("HEAD") + hub.asked("GET", "hub")
    } == {"Bearer hf_reader"}
    assert [each.authorization for each in hub.asked("GET", "storage")] == [""]
    held = [
        path
        for path in home.rglob("*")
        if path.is_file() and b"hf_reader" in path.read_bytes()
    ]
    assert not held


@pytest.mark.parametrize(
    ("repository", "token", "error", "message"),
    [
        (
            "wanglab/gated",
            "",
            EcgnbError,
            r"is gated, and it was asked for with no token \(HF_TOKEN is not set\)",
        ),
        (
            "wanglab/private",
            "",
            ConfigError,
            r"no repository 'wanglab/private', or a private one.*no token.*not there",
        ),
        (
            "wanglab/nothing",
            "hf_reader",
            ConfigError,
            r"no repository 'wanglab/nothing'.*with the token in HF_TOKEN",
        ),
        (
            "wanglab/ecg-fm",
            "hf_unknown",
            ConfigError,
            r"does not know the token in HF_TOKEN. Set a valid one, or unset",
        ),
        ("wanglab/ecg-fm", "hf_a\nb", ConfigError, r"HF_TOKEN is no token of the hub"),
    ],
)
def test_refusals_say_what_to_do_and_not_the_token(
    hub: FakeHub,
    commit: str,
    monkeypatch: pytest.MonkeyPatch,
    repository: str,
    token: str,
    error: type,
    message: str,
) -> None:
    hub.add("wanglab/gated", {"model.pt": CONTENT}, gated=True)
    hub.add("wanglab/private", {"model.pt": CONTENT}, private=True)
    monkeypatch.setenv("HF_TOKEN", token)
    for name in (repository, f"{repository}/model.pt"):
        with pytest.raises(error, match=message) as refused:
            fetch(name)
        if token:
            assert token not in "".join(traceback.format_exception(refused.value))


def test_what_is_not_there_is_named(hub: FakeHub, commit: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"wanglab/ecg-fm has no revision 'v9'\. Give a commit, a tag or a branch",
    ):
        fetch(NAME, "v9")
    with pytest.raises(ConfigError, match=r"wanglab/ecg-fm has no revision 'v9'"):
        fetch("wanglab/ecg-fm", "v9")
    with pytest.raises(
        ConfigError,
        match=rf"wanglab/ecg-fm has no file 'other\.pt' at revision {commit}",
    ):
        fetch("wanglab/ecg-fm/other.pt", commit)
    for name in ("model.pt", "../a/b.pt", "a/../../b.pt", "a//b.pt", "", "a/b--c/d.pt"):
        with pytest.raises(ConfigError, match=r"Give (it as )?'owner/repository"):
            fetch(name)


def test_a_full_disk_is_seen_before_and_during_the_download(
    hub: FakeHub, commit: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            hub_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000)
        )
        with pytest.raises(
            FileError,
            match=r"model\.pt has 0\.3 MB, and .* has room for 0\.1 MB\. Make room, or set HF_HOME",
        ):
            fetch(NAME)
    assert not hub.asked("GET")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home))

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(
            FileError, match=r"cannot be written: No space left.*Make room"
        ) as refused:
            fetch(NAME)
    assert refused.value.errno == errno.ENOSPC
    assert fetch(NAME).sha256 == SHA256


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **words: object) -> object:
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "ecgnb\[hub\]"'):
        fetch(NAME)


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

    monkeypatch.setattr(hub_module, "fetch", fetch_and_commit)
    folder = fetch_folder("wanglab/ecg-fm", ("README.md", "model.pt"))
    assert folder.name == commit and (folder / "model.pt").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.pt"]


def test_importing_asks_for_no_optional_package() -> None:
    import subprocess

    code = "import sys, ecgnb.hub.download; print([n for n in sys.modules if n.startswith(('huggingface', 'torch'))])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
