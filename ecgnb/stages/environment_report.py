"""Tables of the machine, of installed versions, and of registered names."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ecgnb.core.environment import describe_environment
from ecgnb.core.files import write_json
from ecgnb.data.catalog import CATALOG
from ecgnb.data.readers.base import READERS
from ecgnb.explain import EXPLAINERS
from ecgnb.figures import FIGURES
from ecgnb.models import MODELS
from ecgnb.objectives import OBJECTIVES
from ecgnb.run.project import open_notebook, package_root
from ecgnb.run.run import Run
from ecgnb.run.session import use_run
from ecgnb.training.callbacks import CALLBACKS
from ecgnb.transforms import TRANSFORMS

REGISTRIES: tuple[Any, ...] = (
    CATALOG,
    READERS,
    TRANSFORMS,
    MODELS,
    OBJECTIVES,
    CALLBACKS,
    EXPLAINERS,
    FIGURES,
)


def environment_report(run: Run) -> pd.DataFrame:
    """Describe machine, installation and code, and write the run's
    ``environment.json``.

    Returns:
        One row per fact: ``what, value``; ``code`` and ``project`` are the folders of
        the package that runs and of the results.
    """
    use_run(run)
    environment = run_environment(run)
    write_json(run.path("environment.json"), environment)
    return environment_table(environment)


def run_environment(run: Run) -> dict[str, Any]:
    """Return what `describe_environment` does, and the folders of code and results."""
    notebook = open_notebook()
    return {
        "run": run.name,
        "project": str(run.root),
        "code": str(package_root()),
        **({"notebook": str(notebook)} if notebook else {}),
        **describe_environment(run.root),
    }


def environment_table(environment: dict[str, Any]) -> pd.DataFrame:
    """Return the result of `describe_environment` as a table: ``what, value``."""
    facts = {**environment, **environment["packages"]}
    del facts["packages"]
    gpus = [f"{gpu['name']} ({gpu['memory_gb']} GB)" for gpu in environment["gpus"]]
    facts["gpus"] = ", ".join(gpus) or "none"
    rows = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    return pd.DataFrame(rows, columns=["what", "value"])


def available(kind: str | None = None) -> pd.DataFrame:
    """List what is registered: data sets, readers, transforms, models, objectives,
    callbacks, explainers and figures.

    Args:
        kind: only that kind, such as "model".

    Returns:
        One row per name: ``kind, name, about``. ``about`` is the title of a data set,
        or the first line of the documentation.
    """
    rows = []
    for registry in REGISTRIES:
        if kind not in (None, registry.kind):
            continue
        for name in registry:
            entry = registry.get(name)
            # Data sets have a title, everything else a docstring.
            first_line = (entry.__doc__ or "").strip().partition("\n")[0]
            rows.append((registry.kind, name, getattr(entry, "title", first_line)))
    return pd.DataFrame(rows, columns=["kind", "name", "about"])
