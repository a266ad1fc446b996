"""An interrupt while libraries are loading comes after them."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from pathlib import Path

import pytest

import ecgnb
from ecgnb.core.interrupts import interrupts_deferred

#: A library that is interrupted in the middle of its import.
LIBRARY = """
import signal
signal.raise_signal(signal.SIGINT)
finished = True
def work():
    return "done"
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "interrupted_library.py").write_text(LIBRARY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "interrupted_library", raising=False)
    importlib.invalidate_caches()
    return "interrupted_library"


def test_a_library_is_loaded_before_the_interrupt_is_raised(library: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        importlib.import_module(library)
    assert sys.modules[library].finished
    assert signal.getsignal(signal.SIGINT) is before


def test_a_name_of_the_package_can_be_used_after_an_interrupt(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ecgnb._FUNCTIONS, "work", library)
    with pytest.raises(KeyboardInterrupt):
        ecgnb.work  # noqa: B018
    assert ecgnb.work() == "done"
    monkeypatch.delitem(vars(ecgnb), "work")


def test_an_error_in_the_block_is_kept_where_no_interrupt_came() -> None:
    with pytest.raises(ValueError, match="its own"), interrupts_deferred():
        raise ValueError("its own")


def test_another_thread_gets_no_interrupts() -> None:
    results: list[str] = []

    def work() -> None:
        with interrupts_deferred():
            results.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["done"]
