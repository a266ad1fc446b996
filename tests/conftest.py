"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from ecgnb.run.run import Run

# A busy machine is no failure.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")
os.environ.setdefault("ECGNB_PROGRESS", "quiet")
os.environ.setdefault("MPLBACKEND", "Agg")
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # processes side by side must not each take all cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _close_log_file() -> None:
    """Stop writing the log of the process into the file of the last run."""
    logger = logging.getLogger("ecgnb")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()


def _folder_of(variable: str, what: str) -> Path:
    folder = os.environ.get(variable, "")
    if not folder:
        pytest.skip(f"set {variable} to the folder of {what} to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real public recordings; tests that need it are skipped without it."""
    return _folder_of("ECGNB_TEST_DATA", "real recordings")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of golden files; tests that need it are skipped without it."""
    return _folder_of("ECGNB_TEST_GOLDEN", "golden files")


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Folder of small files with right values; tests that need it are skipped without
    it."""
    return _folder_of("ECGNB_TEST_CASES", "small cases")


#: A run that takes seconds: few recordings, a narrow network, one short epoch.
SMALL = {
    "PROFILE": "smoke",
    "PREPROCESS_LIMIT": 80,
    "EPOCHS": 2,
    "TARGET_FS": 100,
    "TARGET_SAMPLES": 1000,
    "MODEL_OPTIONS": {"widths": [8, 16], "depths": [1, 1]},
    "BOOTSTRAP_RESAMPLES": 50,
    "N_JOBS": 1,
}


@pytest.fixture(scope="session")
def small_parameters() -> dict:
    """Parameters of a main job that takes seconds."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with one finished small run on the demo cohort; read it, do
    not change it."""
    import ecgnb
    from ecgnb.run import session

    home = tmp_path_factory.mktemp("project")
    before, opened = os.environ.get("ECGNB_HOME"), session._opened
    os.environ["ECGNB_HOME"] = str(home)
    try:
        run = ecgnb.open_run(SMALL)
        for stage in (
            ecgnb.load_cohort,
            ecgnb.prepare,
            ecgnb.split,
            ecgnb.train,
            ecgnb.evaluate,
            ecgnb.write_report,
        ):
            stage(run)
    finally:
        _close_log_file()
        session._opened = opened
        os.environ.pop("ECGNB_HOME")
        if before is not None:
            os.environ["ECGNB_HOME"] = before
    return home


@pytest.fixture
def finished_run(finished_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The finished small run, opened as after a restart."""
    from ecgnb.run import session

    monkeypatch.setenv("ECGNB_HOME", str(finished_home))
    monkeypatch.setattr(session, "_opened", None)
    yield session.open_run()
    _close_log_file()


@pytest.fixture(scope="session")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of forty good recordings with labels; read it, do not change it."""
    from ecgnb.data.demo.cohort_files import DemoConfig, make_demo

    return make_demo(
        tmp_path_factory.mktemp("forty") / "demo", DemoConfig(n_records=40), n_jobs=1
    )


@pytest.fixture
def recordings(forty: Path, tmp_path: Path) -> Path:
    """A copy of the forty recordings, to spoil."""
    return Path(shutil.copytree(forty, tmp_path / "data"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project; whatever a test does in it, no half-written file may stay."""
    from ecgnb.run import session

    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setenv("ECGNB_HOME", str(folder))
    monkeypatch.setattr(session, "_opened", None)
    yield folder
    _close_log_file()
    assert not list(folder.rglob(".tmp-*"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Look for doctests in modules, not in files of fixtures, which all have one
    name."""
    return True if collection_path.name == "conftest.py" else None
