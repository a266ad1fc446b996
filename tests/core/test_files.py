from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgnb.core import files


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"version": 1})
    with (
        pytest.raises(OSError, match="No space"),
        files.atomic_write(target) as temporary,
    ):
        temporary.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files.read_json(target) == {"version": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(os.name == "nt", reason="only its age tells a leftover there")
def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "import os, sys; from ecgnb.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "b.txt"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert not target.exists()
    assert files.remove_leftovers(tmp_path) == 1
    assert not list(tmp_path.iterdir())


WRITE = """
import sys
from ecgnb.core.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("whole")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "c.txt")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        assert files.remove_leftovers(tmp_path) == 0
        child.communicate("go on\n")
    assert child.returncode == 0
    assert (tmp_path / "c.txt").read_text(encoding="utf-8") == "whole"


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(),
    reason="only Linux tells ended processes apart",
)
def test_a_process_that_has_ended_unnoticed_does_not_live(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tmp_path / "c.txt")], stdin=subprocess.PIPE
    ) as child:
        assert files._may_be_running(child.pid)
        child.kill()
        os.waitid(
            os.P_PID, child.pid, os.WEXITED | os.WNOWAIT
        )  # ended, but not taken note of
        os.kill(child.pid, 0)
        assert not files._may_be_running(child.pid)


def test_leftovers_are_recognised_by_process_and_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if pid in (11, 12):
            raise ProcessLookupError if pid == 11 else PermissionError

    monkeypatch.setattr(files.os, "kill", kill)
    monkeypatch.setattr(files.os, "name", "posix")
    names = {pid: f".tmp-{pid}-00c0ffee-a.npy" for pid in (11, 12, 13, os.getpid())}
    for name in (
        *names.values(),
        ".tmp-14-00c0ffee-old.npy",
        ".tmp-ready.json",
        "a.npy",
    ):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".tmp-14-00c0ffee-old.npy", (1e9, 1e9))
    assert files.remove_leftovers(tmp_path) == 3
    kept = {names[12], names[13], ".tmp-ready.json", "a.npy"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert sorted(asked) == [(11, 0), (12, 0), (13, 0)]


def test_on_windows_nobody_is_asked_by_a_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files.os, "name", "nt")
    monkeypatch.setattr(
        files.os, "kill", lambda *_: pytest.fail("that would end the process")
    )
    assert files._may_be_running(11)


def test_json_of_numpy_tuples_paths_and_nan(tmp_path: Path) -> None:
    value = {
        "a": np.float32(0.5),
        "b": (1, 2),
        "c": Path("x/y"),
        "d": float("nan"),
        "e": np.arange(3),
        "f": "ä",
    }
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
        files.fingerprint({"a": 1, "b": [1, 2]})
        == files.fingerprint({"b": (1, 2), "a": 1})
        == "8baa73198470"
    )  # sha256 of {"a":1,"b":[1,2]}
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": True})


def test_sha256_is_the_published_value(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert (
        files.sha256_file(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_csv_has_unix_line_ends_and_no_index(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "t.csv", pd.DataFrame({"a": [1], "b": ["ü"]}))
    assert (tmp_path / "t.csv").read_bytes() == "a,b\n1,ü\n".encode()
