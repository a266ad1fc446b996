"""The hub's refusals, its absence and the token."""

from __future__ import annotations

import builtins
import hashlib
import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest
from hub_server import FakeHub

from ecgnb.core.errors import ConfigError, EcgnbError, MissingExtraError
from ecgnb.hub.huggingface import fetch

CONTENT = np.random.default_rng(0).bytes(3_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "wanglab/ecg-fm/model.pt"


@pytest.fixture
def commit(hub: FakeHub) -> str:
    return hub.add("wanglab/ecg-fm", {"model.pt": CONTENT, "README.md": b"# A model\n"})


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
        "does not answer; wanglab/ecg-fm/model.pt is taken from the cache"
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
    assert {request.authorization for request in hub.requests} == {""}
    shutil.rmtree(home / "hub")
    hub.requests.clear()
    monkeypatch.setenv("HF_TOKEN", " hf_reader\n")
    fetch("wanglab/ecg-fm")
    assert {
        request.authorization for request in hub.asked("HEAD") + hub.asked("GET", "hub")
    } == {"Bearer hf_reader"}
    assert [request.authorization for request in hub.asked("GET", "storage")] == [""]
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
            r"is gated, and it was requested with no token \(HF_TOKEN is not set\)",
        ),
        (
            "wanglab/private",
            "",
            ConfigError,
            r"no repository 'wanglab/private', or a private one.*no token.*does not exist",
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


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **words: object) -> object:
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "ecgnb\[hub\]"'):
        fetch(NAME)
