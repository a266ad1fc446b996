"""Fixtures of the port's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from zoo_cases import zoo_models

from ecgnb.port import save_port


@pytest.fixture(scope="session")
def saved_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One saved port per case of the zoo and version of Keras, in either layout.

    Beside it: ``inputs.pt``, and in ``wanted.pt`` its outputs, logits, names of the
    state, and shapes of the inputs."""
    home = tmp_path_factory.mktemp("saved_zoo")
    models = {(model.case, model.keras): model for model in zoo_models()}
    for index, model in enumerate(models.values()):
        layout = ("NTC", "NCT")[index % 2]
        port, inputs = model.port(layout), [x.detach() for x in model.fed(layout)]
        folder = save_port(port, home / f"{model.case}_k{model.keras}")
        torch.save(inputs, folder / "inputs.pt")
        with torch.no_grad():
            outputs, logits = port(*inputs), port.logits(*inputs)
        wanted = [outputs, logits, list(port.state_dict()), port.origin.inputs]
        torch.save(wanted, folder / "wanted.pt")
    return home
