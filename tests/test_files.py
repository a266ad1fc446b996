from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgnb import files


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"version": 1})
    with pytest.raises(OSError, match="No space"), files.atomic_write(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files.read_json(target) == {"version": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "import os, sys; from ecgnb.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "b.txt"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert not target.exists()
    assert files.remove_leftovers(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_json_of_numpy_tuples_paths_and_nan(tmp_path: Path) -> None:
    value = {"a": np.float32(0.5), "b": (1, 2), "c": Path("x/y"), "d": float("nan"), "e": np.arange(3), "f": "ä"}
    files.write_json(tmp_path / "c.json", value)
    assert files.read_json(tmp_path / "c.json") == {
        "a": 0.5,
        "b": [1, 2],
        "c": "x/y",
        "d": None,
        "e": [0, 1, 2],
        "f": "ä",
    }


def test_fingerprint_depends_on_values_not_on_order() -> None:
    assert (
        files.fingerprint({"a": 1, "b": [1, 2]}) == files.fingerprint({"b": (1, 2), "a": 1}) == "8baa73198470"
    )  # sha256 of {"a":1,"b":[1,2]}
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": True})


def test_sha256_is_the_published_value(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert files.sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_csv_has_unix_line_ends_and_no_index(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "t.csv", pd.DataFrame({"a": [1], "b": ["ü"]}))
    assert (tmp_path / "t.csv").read_bytes() == "a,b\n1,ü\n".encode()
