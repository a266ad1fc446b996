"""What is installed, and what there is to choose from."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ecgnb.core.environment import describe_environment
from ecgnb.core.files import write_json
from ecgnb.run.run import Run


def environment_report(run: Run) -> pd.DataFrame:
    """Describe machine and installation, and keep it in the run's ``environment.json``.

    Returns:
        A row a fact: ``what, value``.
    """
    described = describe_environment(run.root)
    write_json(run.path("environment.json"), described)
    return environment_table(described)


def environment_table(described: dict) -> pd.DataFrame:
    """Turn `describe_environment` into a table with columns ``what, value``."""
    gpus = (
        ", ".join(f"{gpu['name']} ({gpu['memory_gb']} GB)" for gpu in described["gpus"])
        or "none"
    )
    facts = {
        key: value
        for key, value in described.items()
        if key not in ("gpus", "packages")
    }
    rows = {**facts, "gpus": gpus, **described["packages"]}
    return pd.DataFrame(
        {
            "what": [name.replace("_", " ") for name in rows],
            "value": [str(v) for v in rows.values()],
        }
    )


def available(kind: str | None = None) -> pd.DataFrame:
    """List what is registered: models, data sets, readers, transforms and objectives.

    Args:
        kind: only that kind, such as "model".

    Returns:
        A row a name: ``kind, name, about`` (the first line of its documentation).
    """
    from ecgnb.data.catalog import CATALOG
    from ecgnb.data.readers.base import READERS
    from ecgnb.models import MODELS
    from ecgnb.objectives import OBJECTIVES
    from ecgnb.transforms import TRANSFORMS

    rows = [
        {"kind": registry.kind, "name": name, "about": _about(registry.get(name))}
        for registry in (CATALOG, READERS, TRANSFORMS, MODELS, OBJECTIVES)
        for name in registry
        if kind in (None, registry.kind)
    ]
    return pd.DataFrame(rows, columns=["kind", "name", "about"])


def _about(thing: Any) -> str:
    """A data set has a title; of anything else the first line of its documentation
    tells most.
    """
    return getattr(thing, "title", "") or (thing.__doc__ or "").strip().split("\n")[0]
