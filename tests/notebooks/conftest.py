"""What the tests of the notebooks share: the two kinds of notebooks, their builder, and
kernels of their own."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from commands import fork_kernels
from nbclient import NotebookClient

#: Sources of notebooks are no modules: `--doctest-modules` would execute them.
collect_ignore = ["reference/source"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def builder() -> ModuleType:
    """``notebooks/build.py``, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location(
        "notebooks_build", ROOT / "notebooks" / "build.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without parameters and terminal of whoever runs the tests."""
    terminal = ("COLUMNS", "LINES")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ECGNB_") and name not in terminal
    }
    return kept | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


class Kernels:
    """Fresh kernels in one project's folder.

    Args:
        home: the project's folder.
        environment: environment of the kernels.
    """

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.environment = environment | {"ECGNB_HOME": str(home)}

    def run(self, *sources: str) -> list[nbformat.NotebookNode]:
        """Run cells one after the other in one new kernel and return them with their
        outputs."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources]
        )
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(self.home)}},
            extra_arguments=["--log-level=ERROR"],
        )
        with pytest.MonkeyPatch.context() as patch:
            fork_kernels(patch)
            client.execute(env=self.environment)
        return notebook.cells


@pytest.fixture(scope="module")
def kernels(
    tmp_path_factory: pytest.TempPathFactory,
    small_parameters: dict,
    clean_environment: dict[str, str],
) -> Kernels:
    """Fresh kernels in an empty project, with a small main job's parameters in the
    environment."""
    parameters = {}
    for name, value in small_parameters.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parameters[f"ECGNB_{name}"] = text
    return Kernels(
        tmp_path_factory.mktemp("fresh_kernels"), clean_environment | parameters
    )
