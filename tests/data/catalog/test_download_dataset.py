"""Data sets are downloaded as their list of checksums names them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from file_server import CONTENT, running_file_server, sha256

from ecgnb.core.errors import ConfigError, EcgnbError
from ecgnb.data.catalog import CATALOG
from ecgnb.data.catalog.download_dataset import download


@pytest.fixture
def server(monkeypatch):
    with running_file_server(monkeypatch) as running:
        yield running


def read_files(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_files_are_fetched_and_checked(server, tmp_path):
    folder = tmp_path / "ludb"
    assert download("ludb", folder, base_url=server.base_url) == folder
    files = read_files(folder)
    assert files.pop("SHA256SUMS.txt").count(b"\n") == 4
    assert files == CONTENT


def test_a_second_run_requests_the_list_and_what_changed(server, tmp_path):
    download("ludb", tmp_path, base_url=server.base_url)
    server.requests.clear()
    download("ludb", tmp_path, base_url=server.base_url)
    assert server.requests == [("SHA256SUMS.txt", "")]
    (tmp_path / "ludb.csv").write_bytes(b"edited")
    server.requests.clear()
    download("ludb", tmp_path, base_url=server.base_url)
    assert Counter(name for name, _ in server.requests) == {
        "SHA256SUMS.txt": 1,
        "ludb.csv": 1,
    }
    assert read_files(tmp_path)["ludb.csv"] == CONTENT["ludb.csv"]


def test_an_interrupted_download_is_resumed(server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.dat.part").write_bytes(CONTENT["data/1.dat"][:1000])
    server.cuts["data/1.dat"] = [299_000]
    download("ludb", tmp_path, base_url=server.base_url)
    requests = [request for request in server.requests if request[0] == "data/1.dat"]
    assert [requested for _, requested in requests] == ["bytes=1000-", "bytes=300000-"]
    assert read_files(tmp_path)["data/1.dat"] == CONTENT["data/1.dat"]


def test_a_file_may_have_the_name_of_an_incomplete_one(server, tmp_path):
    """A data set with ``x`` and ``x.part``: none takes the place of the other."""
    content = {"x": b"the file", "x.part": b"a part of something", "x.PART.part": b"."}
    server.files |= content
    server.sums |= {name: sha256(data) for name, data in content.items()}
    for _ in range(2):
        download("ludb", tmp_path, base_url=server.base_url)
        assert read_files(tmp_path) | content == read_files(tmp_path)


def test_a_list_of_checksums_that_ended_early_is_refused(server, tmp_path):
    server.sums["data/1"] = "0123"
    with pytest.raises(
        EcgnbError, match=r"a line '0123 data/1', .*not arrive complete"
    ):
        download("ludb", tmp_path, base_url=server.base_url)


def test_a_wrong_file_is_named_and_not_kept(server, tmp_path):
    server.files["ludb.csv"] = b"tampered"
    with pytest.raises(EcgnbError, match=r"ludb\.csv arrived with the checksum"):
        download("ludb", tmp_path, base_url=server.base_url)
    assert not list(tmp_path.glob("ludb.csv*"))


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
    without = sorted(name for name, project in projects.items() if project is None)
    assert without == ["code15", "cpsc2018", "folder"]
    for project in projects.values():
        assert project is None or re.fullmatch(r"[a-z0-9-]+/\d+\.\d+\.\d+", project)
