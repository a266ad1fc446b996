"""Bundles on the Hugging Face hub: `push_to_hub` and `from_hub`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import read_json, seal
from ecgnb.deploy.bundle import Bundle
from ecgnb.deploy.bundle_folder import CARD, DESCRIPTION, WEIGHTS, load_bundle
from ecgnb.deploy.card import card_body, model_card, without_paths
from ecgnb.hub.http_session import hub_session, offline, token
from ecgnb.hub.huggingface import fetch_folder


@dataclass(frozen=True)
class Pushed:
    """A bundle that was pushed to the hub.

    Attributes:
        repository: "owner/repository".
        revision: the commit, with which `from_hub` fetches exactly this bundle.
        url: the page of the commit.
    """

    repository: str
    revision: str
    url: str


def from_hub(repository: str, revision: str | None = None) -> Bundle:
    """Fetch a bundle from the hub, check it and load it.

    Args:
        repository: "owner/repository".
        revision: commit, tag or branch; None for the newest, whose commit is printed.

    Raises:
        ConfigError: there is no such repository or revision, or no bundle in it.
        CheckpointError: a file is damaged, or the weights are not those of
            ``bundle.json``.
        EcgnbError, FileError, MissingExtraError: it cannot be fetched, see
            `ecgnb.hub.huggingface.fetch`.
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
    """Push a saved bundle to the hub, as one commit of its three files.

    The repository is created where it is missing. The folder's ``README.md`` is pushed
    if it was edited, else a new model card with the repository's name. Absolute paths
    are removed from the provenance in ``bundle.json``; nothing else in the folder is
    read.

    Args:
        folder: of a bundle, as `save_bundle` or a run's evaluation writes it. It is
            loaded first.
        repository: "owner/repository"; ``HF_TOKEN`` must be a token that may write it.
        private: whether only its owner sees it. A repository that is public already is
            then refused.
        message: of the commit.
        revision: existing branch to commit to; None for the main one.

    Raises:
        CheckpointError: the folder is no complete bundle.
        ConfigError: the token is missing or may not write there, or the repository is
            public.
        EcgnbError, FileError, MissingExtraError: the hub does not answer, or
            huggingface-hub is not installed.
    """
    folder = Path(folder)
    bundle = load_bundle(folder)
    with hub_session(repository, revision):
        from huggingface_hub import CommitOperationAdd, HfApi  # an optional extra

        api = HfApi(token=_write_token())
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise ConfigError(
                f"{repository} is public already. Pass private=False to publish the "
                "bundle there, or give a new name."
            )
        operations = [
            CommitOperationAdd(DESCRIPTION, _description(folder)),
            CommitOperationAdd(WEIGHTS, str(folder / WEIGHTS)),
            CommitOperationAdd(CARD, _card(folder / CARD, bundle, repository).encode()),
        ]
        commit = api.create_commit(
            repository, operations, commit_message=message, revision=revision
        )
    return Pushed(repository, commit.oid, commit.commit_url)


def _write_token() -> str:
    if offline():
        raise ConfigError("HF_HUB_OFFLINE is set, so nothing can be pushed. Unset it.")
    value = token()
    if not value:
        raise ConfigError(
            "Pushing needs a token: create one with write access on the hub's page, "
            "and set it as HF_TOKEN."
        )
    return value


def _description(folder: Path) -> bytes:
    """Return ``bundle.json`` without the absolute paths in its provenance."""
    description = read_json(folder / DESCRIPTION)
    provenance = without_paths(description["provenance"])
    if provenance == description["provenance"]:
        return (folder / DESCRIPTION).read_bytes()
    description["provenance"] = provenance
    description = seal(description)
    return json.dumps(description, indent=2, ensure_ascii=False).encode() + b"\n"


def _card(file: Path, bundle: Bundle, repository: str) -> str:
    """Return the folder's card if somebody edited it, else a new one."""
    if file.is_file():
        card = file.read_text(encoding="utf-8")
        # The metadata above the body depend on whether huggingface-hub is installed.
        if card_body(card) != card_body(model_card(bundle)):
            return card
    return model_card(bundle, repository)
