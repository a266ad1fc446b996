"""A contract in words, for the source code and the report of a port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgnb.port.contract import Contract


def contract_facts(contract: Contract) -> dict[str, str]:
    """Return what a recording must be, name to words.

    >>> contract_facts(Contract(500.0, 2000, ("I", "II"), ("AF", "no AF")))["rate"]
    '500 Hz'
    """
    crop = "the middle of a longer recording" if contract.crop == "center" else "the beginning of a longer recording"
    facts = {
        "rate": f"{contract.fs:g} Hz",
        "samples": f"{contract.n_samples} ({contract.n_samples / contract.fs:g} s), {crop}",
        "leads": ", ".join(contract.leads),
        "units": contract.units,
        "filters": "; ".join(map(_filter, contract.filters)) or "none",
        "classes": f"{', '.join(contract.classes)} ({contract.task})",
        "source": contract.source,
    }
    return {name: text for name, text in facts.items() if text}


def _filter(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        return str(spec)
    options = ", ".join(f"{name} {value}" for name, value in spec.items() if name != "name")
    return f"{spec['name']} ({options})" if options else str(spec["name"])
