"""Reads the layer zoo for tests: which models there are, a port of each, and what each
of its layers gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ecgnb.port import PortedModel, port_keras
from ecgnb.port.ported import build_port, major
from ecgnb.port.reading.graph import parse_graph
from ecgnb.port.reading.keras_file import read_keras

ZOO = Path(__file__).parent / "zoo"
#: Largest difference from Keras, relative to the largest value of a layer's output and
#: of a gradient.
LAYER_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


@dataclass(frozen=True)
class ZooModel:
    """One model file of the zoo, of one Keras, in one container."""

    case: str
    keras: int
    container: str
    files: tuple[str, ...]
    golden: str
    inputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.case}-k{self.keras}-{self.container}"

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the golden file's arrays."""
        with np.load(ZOO / self.golden) as stored:
            return dict(stored)

    @property
    def classes(self) -> set[str]:
        """Return the classes of all layers, nested and wrapped ones too."""
        return set(_classes_in(read_keras(*self._paths).config))

    @property
    def _paths(self) -> list[Path]:
        return [ZOO / name for name in self.files]

    def port(self, input_layout: str = "NTC") -> PortedModel:
        """Port the model."""
        path, *weights = self._paths
        return port_keras(
            path, weights=weights[0] if weights else None, input_layout=input_layout
        )

    def fed(self, input_layout: str = "NTC") -> list[Tensor]:
        """Return the golden inputs in a layout, ready for gradients."""
        tensors = [torch.from_numpy(self.arrays[f"in/{name}"]) for name in self.inputs]
        turned = [
            x.transpose(1, 2).contiguous()
            if input_layout == "NCT" and x.ndim == 3
            else x
            for x in tensors
        ]
        return [x.clone().requires_grad_(x.is_floating_point()) for x in turned]


@lru_cache
def zoo_models(*families: str) -> list[ZooModel]:
    """Return the models of cases whose names begin with one of the words; all of them
    without a word."""
    index = json.loads((ZOO / "index.json").read_text(encoding="utf-8"))
    models = [
        ZooModel(
            m["case"],
            m["keras"],
            m["container"],
            tuple(m["files"]),
            m["golden"],
            tuple(m["inputs"]),
        )
        for m in index["models"]
        if m["files"]
    ]
    return [
        model for model in models if not families or model.case.startswith(families)
    ]


def run_layers(
    port: PortedModel, inputs: list[Tensor]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return every layer's output by its name in Keras, in Keras' layout, and the
    model's outputs."""
    found: dict[str, Tensor] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if "keras" in n.meta and isinstance(value, Tensor):
                found[n.meta["keras"]] = (
                    value.transpose(1, 2) if n.meta["layout"] == "nct" else value
                )
            return value

    given = Watch(port).run(*inputs)
    return found, list(given) if isinstance(given, tuple) else [given]


def difference(got: Tensor, wanted: np.ndarray) -> float:
    """Return the largest difference, relative to the largest wanted value."""
    values = got.detach().numpy()
    assert values.shape == wanted.shape, (values.shape, wanted.shape)
    scale = max(np.abs(wanted).max(initial=0.0), 1e-3)
    return float(np.abs(values.astype(np.float64) - wanted).max(initial=0.0) / scale)


def check_model(model: ZooModel) -> None:
    """Assert that every layer, every output and the gradients are those of Keras."""
    port, inputs = model.port(), model.fed()
    layers, outputs = run_layers(port, inputs)
    wanted = {
        key[6:]: values
        for key, values in model.arrays.items()
        if key.startswith("layer/")
    }
    for label in (
        set(wanted) - set(layers)
    ):  # one tensor may be the output of two calls, as of a nested model and its last layer
        assert any(
            np.array_equal(wanted[label], wanted[other])
            for other in set(wanted) & set(layers)
        ), label
    wrong = {
        label: difference(layers[label], wanted[label])
        for label in sorted(set(wanted) & set(layers))
    }
    wrong |= {
        f"out/{k}": difference(value, model.arrays[f"out/{k}"])
        for k, value in enumerate(outputs)
    }
    assert not {label: by for label, by in wrong.items() if not by <= LAYER_TOLERANCE}
    check_gradients(model, inputs, outputs)
    check_rebuilt(model, port, outputs)


def check_rebuilt(model: ZooModel, port: PortedModel, outputs: list[Tensor]) -> None:
    """Assert that a port of the configuration and the state alone, with channels first,
    computes the same."""
    config = json.loads(json.dumps(port.origin.config))
    version = port.origin.keras_version
    again = build_port(parse_graph(config, major(version)), config, version, "NCT")
    again.load_state_dict(port.state_dict(), strict=True)
    with torch.no_grad():
        values = again(*model.fed("NCT"))
    values = values if isinstance(values, tuple) else (values,)
    for value, output in zip(values, outputs, strict=True):
        assert difference(value, output.detach().numpy()) <= 1e-6


def check_gradients(
    model: ZooModel, inputs: list[Tensor], outputs: list[Tensor]
) -> None:
    """Assert that d(sum of squares of all outputs / 2)/d(inputs) is that of Keras."""
    energy = sum(
        (out.square().sum() / 2 for out in outputs if out.is_floating_point()),
        torch.zeros(()),
    )
    named = {
        name: x
        for name, x in zip(model.inputs, inputs, strict=True)
        if f"gradall/{name}" in model.arrays
    }
    if named:
        found = torch.autograd.grad(energy, list(named.values()))
        wrong = {
            name: difference(gradient, model.arrays[f"gradall/{name}"])
            for name, gradient in zip(named, found, strict=True)
        }
        assert not {
            name: by for name, by in wrong.items() if not by <= GRADIENT_TOLERANCE
        }


def _classes_in(config: Any) -> list[str]:
    """Return every class named in a configuration, whatever it is of."""
    if isinstance(config, list):
        return [name for item in config for name in _classes_in(item)]
    if not isinstance(config, dict):
        return []
    own = (
        [str(config["class_name"])] if isinstance(config.get("class_name"), str) else []
    )
    return own + [name for item in config.values() for name in _classes_in(item)]
