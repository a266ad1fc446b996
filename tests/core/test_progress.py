from __future__ import annotations

import pytest

from ecgnb.core import progress


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("bar", "lines", "quiet"):
        monkeypatch.setenv("ECGNB_PROGRESS", mode)
        assert progress.mode() == mode


def test_papermill_gets_lines_and_a_live_notebook_a_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ECGNB_PROGRESS")
    monkeypatch.setitem(__import__("sys").modules, "ipykernel", object())
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    assert progress.mode() == "lines"
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/master_pipeline.ipynb")
    assert progress.mode() == "bar"


def test_lines_say_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "lines")
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    assert list(progress.progress("ab", title="shards")) == ["a", "b"]
    assert capsys.readouterr().out == "shards: 1/2 after 0 s\nshards: 2/2 after 0 s\n"


def test_quiet_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECGNB_PROGRESS", "quiet")
    progress.say("hello")
    assert list(progress.progress([1, 2])) == [1, 2]
    assert capsys.readouterr() == ("", "")
