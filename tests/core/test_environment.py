from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ecgnb.core.environment import code_commit, describe_environment, package_version


def test_a_package_that_is_not_there() -> None:
    assert package_version("no-such-package-at-all") == "not installed"


def test_describe_has_cores_and_disk(tmp_path) -> None:
    result = describe_environment(tmp_path)
    assert result["cpu_cores"] >= 1 and result["disk_free_gb"] > 0


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_clone_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        person = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *person, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert code_commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "code.py").write_text("1\n", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook
    assert code_commit(tmp_path) == commit
    (tmp_path / "code.py").write_text("2\n", encoding="utf-8")
    assert code_commit(tmp_path) == f"{commit}, with changes"
    (tmp_path / ".venv").mkdir()  # inside of another project's repository
    assert code_commit(tmp_path / ".venv") == "unknown"
