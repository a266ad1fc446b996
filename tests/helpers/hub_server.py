"""A small Hugging Face hub on localhost that records its requests.

Large files are on a second server, as the hub's are with another host: the hub answers
with a redirect, the checksum in ``X-Linked-Etag``. Uploads use git LFS. Nothing sleeps.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".pt", ".safetensors")


@dataclass
class Repository:
    """What a repository holds: the files of each commit, the newest last, and who may
    see it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        name = hashlib.sha1(
            repr((len(self.commits), sorted(files.items()))).encode()
        ).hexdigest()
        self.commits[name] = {**(self.files() if self.commits else {}), **files}
        self.messages.append(message)
        return name

    def resolve(self, revision: str) -> str | None:
        return (
            list(self.commits)[-1]
            if revision == "main"
            else revision
            if revision in self.commits
            else None
        )

    def files(self) -> dict[str, bytes]:
        return list(self.commits.values())[-1]


@dataclass(frozen=True)
class Request:
    """One request: to "hub" or "storage", and what came with it."""

    server: str
    method: str
    path: str
    authorization: str
    range: str


class FakeHub:
    """Both servers, their repositories and what they were asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.stored: dict[str, bytes] = {}  # by SHA-256
        self.tokens = {"hf_reader", "hf_writer"}
        #: Bytes after which the next answers of the storage break off, one each.
        self.cuts: list[int] = []
        #: What a broken storage or hub does: "wrong bytes", "short", "no storage", or a
        #: status such as 503.
        self.fault: str | int = ""
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), self._handler(name))
            for name in ("hub", "storage")
        ]
        self.url, self.storage_url = (
            f"http://127.0.0.1:{server.server_port}" for server in self._servers
        )

    def _handler(self, name: str) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"hub": self, "server_name": name})

    @contextmanager
    def running(self) -> Iterator[FakeHub]:
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,))
            for server in self._servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server, thread in zip(self._servers, threads, strict=True):
                server.shutdown()
                thread.join()
                server.server_close()

    def add(self, name: str, files: dict[str, bytes], **about: Any) -> str:
        """Make a repository, or a further commit of it; return the commit."""
        repository = self.repositories.setdefault(name, Repository(**about))
        self.stored |= {
            hashlib.sha256(content).hexdigest(): content for content in files.values()
        }
        return repository.commit(files)

    def asked(self, method: str, server: str = "") -> list[Request]:
        return [
            each
            for each in self.requests
            if each.method == method and server in ("", each.server)
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    server_name: str
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # every method goes one way
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        about = (self.headers.get("Authorization", ""), self.headers.get("Range", ""))
        self.hub.requests.append(Request(self.server_name, self.command, path, *about))
        for pattern, method, answer in _ROUTES:
            if self.command in method and (found := re.fullmatch(pattern, path)):
                getattr(self, answer)(body, *found.groups())
                return
        self._refuse(404, "")

    # Answers

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(
            status, json.dumps(value).encode(), Content_Type="application/json"
        )

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._answer(status, X_Error_Code=code, X_Error_Message=message)

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repository(self, name: str) -> Repository | None:
        """Return the repository that this request may see; refuse it as the hub does
        where there is none."""
        repository = self.hub.repositories.get(name)
        if isinstance(self.hub.fault, int):
            self._refuse(self.hub.fault, "", f"no service today, {self._token()}")
        elif self._token() and self._token() not in self.hub.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (repository.private and not self._token()):
            self._refuse(
                404 if self._token() else 401, "RepoNotFound", "Repository not found"
            )
        elif repository.gated and not self._token():
            self._refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        else:
            return repository
        return None

    # Downloads

    def _info(self, _: bytes, name: str, revision: str | None) -> None:
        if repository := self._repository(name):
            commit = repository.resolve(revision or "main")
            if commit is None:
                return self._refuse(404, "RevisionNotFound")
            siblings = [{"rfilename": file} for file in repository.commits[commit]]
            self._json(
                {
                    "id": name,
                    "sha": commit,
                    "private": repository.private,
                    "siblings": siblings,
                }
            )
        return None

    def _resolve(self, _: bytes, name: str, revision: str, file: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return None
        commit = repository.resolve(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        if file not in repository.commits[commit]:
            return self._refuse(404, "EntryNotFound")
        content = repository.commits[commit][file]
        if not file.endswith(LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit)
        oid = hashlib.sha256(content).hexdigest()
        linked = {
            "X_Linked_Etag": f'"{oid}"',
            "X_Linked_Size": str(len(content)),
            "X_Repo_Commit": commit,
        }
        return self._answer(
            302, Location=f"{self.hub.storage_url}/objects/{oid}", **linked
        )

    def _object(self, _: bytes, oid: str) -> None:
        content = self.hub.stored[oid]
        if self.hub.fault == "wrong bytes":
            content = bytes(len(content))
        elif self.hub.fault == "short":
            content = content[: len(content) // 2]
        first = int(
            (re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) or ("", "0"))[
                1
            ]
        )
        sent = content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(sent)))
        if first:
            self.send_header(
                "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
            )
        self.end_headers()
        if self.hub.cuts:
            self.wfile.write(sent[: self.hub.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(sent)

    # Uploads

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if self._token() != "hf_writer":
            return self._refuse(
                403,
                "",
                "You don't have the rights to create a model under this namespace",
            )
        status = 409 if name in self.hub.repositories else 200
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.repositories.setdefault(
            name, Repository({"0" * 40: {}}, private=private)
        )
        return self._json({"url": f"{self.hub.url}/{name}"}, status)

    def _validate(self, _: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def _preupload(self, body: bytes, name: str, revision: str) -> None:
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
            }
            for each in json.loads(body)["files"]
        ]
        self._json({"files": [{**each, "shouldIgnore": False} for each in files]})

    def _batch(self, body: bytes, name: str) -> None:
        href = f"{self.hub.storage_url}/objects/"
        asked = json.loads(body)["objects"]
        self._json(
            {
                "objects": [
                    {**each, "actions": {"upload": {"href": href + each["oid"]}}}
                    for each in asked
                ]
            }
        )

    def _store(self, body: bytes, oid: str) -> None:
        if self.hub.fault == "no storage":
            return self._refuse(507, "")
        self.hub.stored[oid] = body
        return self._answer(200 if hashlib.sha256(body).hexdigest() == oid else 400)

    def _commit(self, body: bytes, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files, message = {}, ""
        for value, kind in ((line["value"], line["key"]) for line in lines):
            if kind == "header":
                message = value["summary"]
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        commit = self.hub.repositories[name].commit(files, message)
        self._json(
            {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit}
        )


_ROUTES = [
    (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", ("GET",), "_info"),
    (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", ("GET", "HEAD"), "_resolve"),
    (r"/objects/([0-9a-f]{64})", ("GET",), "_object"),
    (r"/objects/([0-9a-f]{64})", ("PUT",), "_store"),
    (r"/api/repos/create", ("POST",), "_create"),
    (r"/api/validate-yaml", ("POST",), "_validate"),
    (r"/api/models/([^/]+/[^/]+)/preupload/(.+)", ("POST",), "_preupload"),
    (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", ("POST",), "_batch"),
    (r"/api/models/([^/]+/[^/]+)/commit/(.+)", ("POST",), "_commit"),
]


@contextmanager
def running_hub(home: Any, patch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Run a hub that the library in this process speaks with, its cache below ``home``,
    and no token set."""
    from huggingface_hub import close_session, constants, file_download

    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    patch.setenv("NO_PROXY", "127.0.0.1")
    (home / "token").write_text("hf_stored", encoding="utf-8")
    hub = FakeHub()
    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url
        + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in values.items():
        patch.setattr(constants, name, value)
    # No waiting before an interrupted download goes on.
    patch.setattr("ecgnb.hub.download.WAIT_S", 0.0)
    patch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    close_session()
    with hub.running():
        yield hub
    close_session()
