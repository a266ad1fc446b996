"""Downloads are resumed, checked, and complete or absent."""

from __future__ import annotations

import errno
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import CONTENT, FOLDER, FileServer, running_file_server, sha256

from ecgnb.core.errors import EcgnbError, FileError
from ecgnb.hub import download as module
from ecgnb.hub.download import ChecksumError, download_file, file_checksum

NAME = "data/1.dat"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with running_file_server(monkeypatch) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "1.dat"


def fetch(server: FileServer, target: Path, name: str = NAME, **options) -> bool:
    options = {"checksum": sha256(CONTENT[name])} | options
    url = f"http://127.0.0.1:{server.server_port}{FOLDER}{name}"
    return download_file(url, target, name=name, **options)


def write_part(target: Path, content: bytes) -> Path:
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(content)
    return part


def ranges(server: FileServer) -> list[str]:
    return [requested for _, requested in server.requests]


def test_a_complete_file_is_not_requested_again_and_a_changed_one_is(server, target):
    assert fetch(server, target) is True
    assert target.read_bytes() == CONTENT[NAME]
    assert fetch(server, target) is False and len(server.requests) == 1
    target.write_bytes(b"edited")
    assert fetch(server, target) is True and target.read_bytes() == CONTENT[NAME]


def test_a_broken_connection_is_resumed_where_it_ended(server, target):
    server.cuts[NAME] = [300_000, 200_000]
    fetch(server, target)
    assert ranges(server) == ["", "bytes=300000-", "bytes=500000-"]
    assert target.read_bytes() == CONTENT[NAME]


def test_a_part_of_an_earlier_process_is_continued(server, target):
    write_part(target, CONTENT[NAME][:1000])
    fetch(server, target)
    assert ranges(server) == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT[NAME]


@pytest.mark.parametrize(
    "part", [b"of another version", CONTENT[NAME] + b"too long", CONTENT[NAME]]
)
def test_a_part_that_cannot_be_continued_does_no_harm(server, target, part):
    file = write_part(target, part)
    fetch(server, target)
    assert target.read_bytes() == CONTENT[NAME] and not file.exists()


def test_without_a_checksum_a_file_is_always_fetched_from_its_first_byte(
    server, target
):
    write_part(target, b"old")
    fetch(server, target, checksum="")
    fetch(server, target, checksum="")
    assert ranges(server) == ["", ""] and target.read_bytes() == CONTENT[NAME]


def test_a_server_without_ranges_begins_again(server, target):
    server.ranges = False
    server.cuts[NAME] = [300_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT[NAME]


def test_wrong_bytes_are_refused_and_deleted(server, target):
    server.files[NAME] = b"tampered"
    with pytest.raises(ChecksumError, match=r"data/1\.dat arrived with the checksum"):
        fetch(server, target)
    assert not list(target.parent.iterdir())


def test_fewer_bytes_than_the_known_size_are_kept_for_the_next_time(server, target):
    server.files[NAME] = CONTENT[NAME][:1000]
    with pytest.raises(EcgnbError, match="the server sent 1000 of 1048576 bytes"):
        fetch(server, target, size=len(CONTENT[NAME]))
    server.files[NAME] = CONTENT[NAME]
    server.requests.clear()
    fetch(server, target)
    assert ranges(server) == ["bytes=1000-"]


def test_a_missing_file_is_named_and_requested_once(server, target):
    del server.files[NAME]
    with pytest.raises(EcgnbError, match=r"data/1\.dat cannot be fetched: 404"):
        fetch(server, target)
    assert len(server.requests) == 1


def test_a_busy_server_is_requested_again(server, target):
    server.statuses[NAME] = [503, 429]
    fetch(server, target)
    assert len(server.requests) == 3


def test_gives_up_after_attempts_without_a_new_byte(server, target):
    server.cuts[NAME] = [0] * 100
    with pytest.raises(
        EcgnbError,
        match=r"data/1\.dat cannot be fetched: the connection ended after 0 of 1048576",
    ):
        fetch(server, target)
    assert len(server.requests) == module.ATTEMPTS


def test_a_server_that_does_not_answer_is_explained(server, target):
    unused = http.server.HTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
    )
    unused.server_close()
    url = f"http://127.0.0.1:{unused.server_port}/file"
    with pytest.raises(EcgnbError, match=r"file cannot be fetched: .*refused"):
        download_file(url, target, name="file")
    assert not list(target.parent.iterdir())


def test_a_stopped_download_keeps_its_bytes(server, target):
    stop = threading.Event()
    stop.set()
    with pytest.raises(EcgnbError, match="the download was stopped"):
        fetch(server, target, stop=stop)
    assert target.with_name("1.dat.part").stat().st_size > 0


def test_a_full_disk_is_explained(server, target, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(FileError, match=r"The disk is full: .* Make room") as refused:
        fetch(server, target)
    assert refused.value.errno == errno.ENOSPC


def test_a_file_larger_than_the_free_space_is_not_requested(server, target):
    with pytest.raises(FileError, match=r"1\.dat has 1000000000000\.0 MB, and .* has"):
        fetch(server, target, size=10**18)
    assert not server.requests


def test_the_checksum_of_git_is_known(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"hello\n")  # `git hash-object`
    assert file_checksum(file, "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
