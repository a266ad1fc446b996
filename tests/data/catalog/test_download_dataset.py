"""Downloads against a server on loopback that can cut connections, refuse ranges and
serve wrong bytes."""

from __future__ import annotations

import errno
import hashlib
import http.server
import re
import threading
from collections import Counter

import pytest

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.data.catalog import CATALOG
from ecgnb.data.catalog import download_dataset as module
from ecgnb.data.catalog.download_dataset import download

PROJECT = "/files/ludb/1.0.1/"
CONTENT = {
    "LICENSE.txt": b"open",
    "ludb.csv": b"ID,Rhythms\n1,Sinus rhythm\n",
    "data/1.dat": bytes(range(256)) * 4096,  # 1 MiB, several blocks
    "data/1 a.hea": b"name with a blank",
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` with ranges; `cuts` says after how many bytes an answer to a path
    ends, once each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(CONTENT)
        self.sums = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in CONTENT.items()
        }
        self.cuts: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.ranges = True
        self.requests: list[tuple[str, str]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"

    def body(self, name: str) -> bytes | None:
        if name == "SHA256SUMS.txt":
            return "".join(
                f"{digest} {file}\n" for file, digest in self.sums.items()
            ).encode()
        return self.files.get(name)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        assert self.path.startswith(PROJECT)
        name = self.path.removeprefix(PROJECT).replace("%20", " ")
        asked = self.headers.get("Range", "")
        self.server.requests.append((name, asked))
        if self.server.statuses.get(name):
            self.send_error(self.server.statuses[name].pop(0))
            return
        body = self.server.body(name)
        if body is None:
            self.send_error(404)
            return
        start = (
            int(re.match(r"bytes=(\d+)-", asked)[1])
            if asked and self.server.ranges
            else 0
        )
        if start >= len(body) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"
            )
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cuts = self.server.cuts.get(name)
        self.wfile.write(body[start : start + cuts.pop(0)] if cuts else body[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(
            target=running.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_fetches_all_files_and_checks_them(server, tmp_path):
    assert (
        download("ludb", tmp_path / "ludb", base_url=server.base_url)
        == tmp_path / "ludb"
    )
    found = tree(tmp_path / "ludb")
    assert found.pop("SHA256SUMS.txt").count(b"\n") == 4
    assert found == CONTENT


def test_a_second_run_asks_only_for_the_list(server, tmp_path):
    download("ludb", tmp_path, base_url=server.base_url)
    server.requests.clear()
    download("ludb", tmp_path, base_url=server.base_url)
    assert server.requests == [("SHA256SUMS.txt", "")]


def test_a_changed_file_is_fetched_again(server, tmp_path):
    download("ludb", tmp_path, base_url=server.base_url)
    (tmp_path / "ludb.csv").write_bytes(b"edited")
    server.requests.clear()
    download("ludb", tmp_path, base_url=server.base_url)
    assert Counter(name for name, _ in server.requests) == {
        "SHA256SUMS.txt": 1,
        "ludb.csv": 1,
    }
    assert (tmp_path / "ludb.csv").read_bytes() == CONTENT["ludb.csv"]


def test_a_cut_connection_is_resumed_where_it_ended(server, tmp_path):
    server.cuts["data/1.dat"] = [300_000, 200_000]
    download("ludb", tmp_path, base_url=server.base_url)
    asked = [asked for name, asked in server.requests if name == "data/1.dat"]
    assert asked == ["", "bytes=300000-", "bytes=500000-"]
    assert (tmp_path / "data/1.dat").read_bytes() == CONTENT["data/1.dat"]


def test_a_part_of_an_earlier_run_is_continued(server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.dat.part").write_bytes(CONTENT["data/1.dat"][:1000])
    download("ludb", tmp_path, base_url=server.base_url)
    assert ("data/1.dat", "bytes=1000-") in server.requests
    assert (tmp_path / "data/1.dat").read_bytes() == CONTENT["data/1.dat"]


@pytest.mark.parametrize(
    "part",
    [b"of another version", CONTENT["data/1.dat"] + b"too long", CONTENT["data/1.dat"]],
)
def test_a_part_that_cannot_be_continued_does_no_harm(server, tmp_path, part):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.dat.part").write_bytes(part)
    download("ludb", tmp_path, base_url=server.base_url)
    assert (tmp_path / "data/1.dat").read_bytes() == CONTENT["data/1.dat"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges = False
    server.cuts["data/1.dat"] = [300_000]
    download("ludb", tmp_path, base_url=server.base_url)
    assert (tmp_path / "data/1.dat").read_bytes() == CONTENT["data/1.dat"]


def test_a_wrong_checksum_is_an_error_and_the_file_is_not_kept(server, tmp_path):
    server.files["ludb.csv"] = b"tampered"
    with pytest.raises(EcgnbError, match=r"ludb\.csv arrived with the SHA-256"):
        download("ludb", tmp_path, base_url=server.base_url)
    assert not list(tmp_path.glob("ludb.csv*"))


def test_a_missing_file_is_named_and_not_asked_for_again(server, tmp_path):
    del server.files["data/1 a.hea"]
    with pytest.raises(EcgnbError, match=r"data/1 a\.hea cannot be fetched: 404"):
        download("ludb", tmp_path, base_url=server.base_url)
    assert Counter(name for name, _ in server.requests)["data/1 a.hea"] == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses["ludb.csv"] = [503, 429]
    download("ludb", tmp_path, base_url=server.base_url)
    assert Counter(name for name, _ in server.requests)["ludb.csv"] == 3


def test_gives_up_after_attempts_that_bring_nothing(server, tmp_path):
    server.cuts["ludb.csv"] = [0] * 100
    with pytest.raises(
        EcgnbError,
        match=r"ludb\.csv cannot be fetched: the connection ended after 0 of 26 bytes",
    ):
        download("ludb", tmp_path, base_url=server.base_url)
    assert Counter(name for name, _ in server.requests)["ludb.csv"] == module.ATTEMPTS


def test_no_server_is_explained(server, tmp_path):
    unused = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    port = unused.server_port
    unused.server_close()
    with pytest.raises(
        EcgnbError, match=r"SHA256SUMS\.txt cannot be fetched: .*refused"
    ):
        download("ludb", tmp_path, base_url=f"http://127.0.0.1:{port}/files")
    assert tree(tmp_path) == {}


def test_a_full_disk_is_explained(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(EcgnbError, match=r"The disk is full: .* Make room"):
        download("ludb", tmp_path, base_url=server.base_url)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/passwd", "data/../../x", "..\\x", "C:/x"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(server, tmp_path, name):
    server.sums[name] = "0" * 64
    with pytest.raises(EcgnbError, match="no path inside a folder"):
        download("ludb", tmp_path / "in", base_url=server.base_url)
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


def test_an_empty_list_is_an_error(server, tmp_path):
    server.sums.clear()
    with pytest.raises(EcgnbError, match="lists no files"):
        download("ludb", tmp_path, base_url=server.base_url)


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'ptbxl'"):
        download("ptb-xl", tmp_path)
    with pytest.raises(ConfigError, match="not on PhysioNet"):
        download("folder", tmp_path)
    with pytest.raises(ConfigError, match="no web address"):
        download("ludb", tmp_path, base_url="file:///etc")


def test_projects_have_a_name_and_a_version():
    projects = {name: CATALOG.get(name).download for name in CATALOG}
    assert projects["ptbxl"] == "ptb-xl/1.0.3"
    assert sorted(name for name, project in projects.items() if project is None) == [
        "code15",
        "cpsc2018",
        "folder",
    ]
    assert all(
        re.fullmatch(r"[a-z0-9-]+/\d+\.\d+\.\d+", project)
        for project in projects.values()
        if project
    )
