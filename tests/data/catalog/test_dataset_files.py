"""Files of a data set: search, tables."""

from __future__ import annotations

import errno
import os

import pytest

from ecgnb.core.errors import LabelError, TryAgainError
from ecgnb.data.catalog.dataset_files import read_table, tables_beside, walk


def test_links_that_lead_back_are_followed_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "r1.hea").touch()
    (tmp_path / "in" / "back").symlink_to(tmp_path, target_is_directory=True)
    assert [path.name for path in walk(tmp_path, (".hea",))] == ["r1.hea"]


def test_hidden_files_are_ignored_and_the_rest_is_sorted(tmp_path):
    for name in ("b/2.HEA", "a/1.hea", ".git/3.hea", "__MACOSX/4.hea", "._5.hea"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [
        path.relative_to(tmp_path).as_posix() for path in walk(tmp_path, (".hea",))
    ]
    assert names == ["a/1.hea", "b/2.HEA"]


def test_a_table_is_found_below_before_one_level_above(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "labels.csv").write_text("record,label\n1,\n")
    above = tables_beside(tmp_path / "records", "labels.csv")
    assert above == [tmp_path / "labels.csv"]
    (tmp_path / "records" / "labels.csv").touch()
    below = tables_beside(tmp_path / "records", "labels.csv")
    assert below == [tmp_path / "records" / "labels.csv"]
    table = read_table(above[0], ("record", "label"))
    assert table.to_dict("list") == {"record": ["1"], "label": [""]}
    with pytest.raises(LabelError, match="no column 'sex', only record, label"):
        read_table(above[0], ("record", "sex"))
    with pytest.raises(LabelError, match="cannot be read as a CSV table"):
        read_table(below[0])


def test_a_folder_on_a_failing_disk_makes_no_smaller_cohort(tmp_path, monkeypatch):
    """One that may not be read is left out with a line; one that fails now is not."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b.dat").write_bytes(b"")
    scandir = os.scandir
    for number in (errno.EACCES, errno.EIO):

        def fail(path, number=number):
            if os.fspath(path).endswith("a"):
                raise OSError(number, os.strerror(number), path)
            return scandir(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", fail)
            if number == errno.EIO:
                with pytest.raises(TryAgainError, match="EIO"):
                    walk(tmp_path, [".dat"])
            else:
                assert walk(tmp_path, [".dat"]) == [tmp_path / "b.dat"]
