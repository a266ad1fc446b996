"""A file server on localhost that can break connections, refuse ranges and send wrong
bytes."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FOLDER = "/files/ludb/1.0.1/"
CONTENT = {
    "LICENSE.txt": b"open",
    "ludb.csv": b"ID,Rhythms\n1,Sinus rhythm\n",
    "data/1.dat": bytes(range(256)) * 4096,  # 1 MiB
    "data/1 a.hea": b"name with a blank",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FileServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` and a list of their checksums.

    ``cuts[name]`` holds after how many bytes the next answers break off, ``statuses``
    the status codes of the next answers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(CONTENT)
        self.sums = {name: sha256(content) for name, content in CONTENT.items()}
        self.cuts: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.ranges = True
        self.requests: list[tuple[str, str]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"

    def body(self, name: str) -> bytes | None:
        if name == "SHA256SUMS.txt":
            lines = [f"{digest} {file}\n" for file, digest in self.sums.items()]
            return "".join(lines).encode()
        return self.files.get(name)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: FileServer

    def do_GET(self) -> None:
        assert self.path.startswith(FOLDER)
        name = self.path.removeprefix(FOLDER).replace("%20", " ")
        requested = self.headers.get("Range", "")
        self.server.requests.append((name, requested))
        if self.server.statuses.get(name):
            self.send_error(self.server.statuses[name].pop(0))
            return
        body = self.server.body(name)
        if body is None:
            self.send_error(404)
            return
        match = re.match(r"bytes=(\d+)-", requested)
        start = int(match[1]) if match and self.server.ranges else 0
        if start >= len(body) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            last = len(body) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cuts = self.server.cuts.get(name)
        stop = start + cuts.pop(0) if cuts else len(body)
        self.wfile.write(body[start:stop])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running_file_server(patch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Run the server without proxies, and without waits between attempts."""
    patch.setattr("ecgnb.hub.download.WAIT_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        patch.delenv(name, raising=False)
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
