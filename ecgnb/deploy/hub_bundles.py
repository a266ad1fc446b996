"""Bundles on the Hugging Face hub: `push_to_hub` and `from_hub`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import CARD, DESCRIPTION, WEIGHTS, load_bundle
from ecgnb.deploy.card import model_card, without_paths
from ecgnb.hub.huggingface import fetch_folder
from ecgnb.hub.http_session import hub_session, offline, token


@dataclass(frozen=True)
class Pushed:
    """A bundle that now lies on the hub.

    Attributes:
        repository: "owner/repository".
        revision: the commit, which `from_hub` takes to get just this one.
        url: the page of the commit.
    """

    repository: str
    revision: str
    url: str


def from_hub(repository: str, revision: str | None = None) -> Bundle:
    """Fetch a bundle from the hub, check it and load it.

    Args:
        repository: "owner/repository".
        revision: commit, tag or branch; None for the newest, and a line says which that
            is.

    Raises:
        ConfigError: there is no such repository or revision, or no bundle in it.
        CheckpointError: a file is damaged, or the weights are not those of
            ``bundle.json``.
        EcgnbError, FileError, MissingExtraError: it cannot be fetched, as
            `ecgnb.hub.huggingface.fetch` tells.
    """
    return load_bundle(fetch_folder(repository, (DESCRIPTION, WEIGHTS), revision))


def push_to_hub(
    folder: str | Path,
    repository: str,
    *,
    private: bool = True,
    message: str = "Bundle of ecgnb",
    revision: str | None = None,
) -> Pushed:
    """Put a saved bundle on the hub, as one commit of its three files; the repository
    is made where it is missing.

    The folder's ``README.md`` goes with it, or a new model card where there is none or
    an unchanged one. Absolute paths are left out of the provenance in ``bundle.json``;
    nothing else in the folder is read.

    Args:
        folder: of a bundle, as `save_bundle` or a run's evaluation writes it. It is
            loaded first.
        repository: "owner/repository"; ``HF_TOKEN`` must be a token that may write it.
        private: whether only its owner sees it. A repository that is public already is
            refused then.
        message: of the commit.
        revision: branch to commit to, which must be there; None for the main one.

    Raises:
        CheckpointError: the folder holds no whole bundle.
        ConfigError: the token is missing or may not write there, or the repository is
            public.
        EcgnbError, FileError, MissingExtraError: the hub does not answer, or
            huggingface-hub is not installed.
    """
    folder = Path(folder)
    bundle = load_bundle(folder)
    with hub_session(repository, revision):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=_writing_token())
        _make(api, repository, private)
        added = [
            CommitOperationAdd(DESCRIPTION, _description(folder)),
            CommitOperationAdd(WEIGHTS, str(folder / WEIGHTS)),
            CommitOperationAdd(CARD, _card(folder, bundle, repository)),
        ]
        commit = api.create_commit(
            repository, added, commit_message=message, revision=revision
        )
    return Pushed(repository, commit.oid, commit.commit_url)


def _writing_token() -> str:
    found = token()
    if offline():
        raise ConfigError("HF_HUB_OFFLINE is set, so nothing can be pushed. Unset it.")
    if not found:
        raise ConfigError(
            "Pushing needs a token: make one that may write on the hub's page, and set it as HF_TOKEN."
        )
    return found


def _make(api: Any, repository: str, private: bool) -> None:
    """Make the repository where it is missing; refuse to publish what was meant to be
    private.
    """
    api.create_repo(repository, private=private, exist_ok=True)
    if private and not api.model_info(repository).private:
        raise ConfigError(
            f"{repository} is public already. Pass private=False to publish the bundle there, or give a new name."
        )


def _description(folder: Path) -> bytes:
    """Return ``bundle.json`` as it is, or without the absolute paths in its provenance
    where it has some.
    """
    told = read_json(folder / DESCRIPTION)
    shown = without_paths(told["provenance"])
    if shown == told["provenance"]:
        return (folder / DESCRIPTION).read_bytes()
    return (
        json.dumps({**told, "provenance": shown}, indent=2, ensure_ascii=False).encode()
        + b"\n"
    )


def _card(folder: Path, bundle: Bundle, repository: str) -> bytes:
    """Return the folder's card, or a new one with the repository's name where nobody
    has worked on it.
    """
    file = folder / CARD
    written = file.read_text(encoding="utf-8") if file.is_file() else model_card(bundle)
    return (
        model_card(bundle, repository) if written == model_card(bundle) else written
    ).encode()
