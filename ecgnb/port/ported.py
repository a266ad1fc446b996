"""`port_keras` and `PortedModel`: a Keras file as a PyTorch module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from ecgnb.core.errors import ConfigError
from ecgnb.core.files import sha256_file
from ecgnb.models.base import keep_freed_memory
from ecgnb.port.build import (
    before_activation,
    load_state,
    refuse_unknown,
    state_of,
    write_graph,
)
from ecgnb.port.contract import Contract, contract_of
from ecgnb.port.layers import variables_of
from ecgnb.port.network import Made, size_texts
from ecgnb.port.reading.calls import Config
from ecgnb.port.reading.graph import Graph, fits, input_shape, parse_graph
from ecgnb.port.reading.keras_file import KerasFile, read_keras, refuse_damaged

LAYOUTS = ("NTC", "NCT")


@dataclass(frozen=True)
class Origin:
    """What a port was built from; enough to build it again without its file.

    Attributes:
        config: the Keras configuration, ``class_name`` and ``config``.
        keras_version: of the Keras that wrote the file.
        input_layout: ``"NTC"`` or ``"NCT"``.
        modules: for each layer's path in Keras, its module's path.
        inputs: name and shape of each input in Keras' layout, the batch first and
            ``None`` where free.
        outputs: shape of each output in Keras' layout, without the batch.
        activations: of each output: ``"softmax"``, ``"sigmoid"`` or ``"linear"``.
        made: how each module was built.
    """

    config: Config
    keras_version: str
    input_layout: str
    modules: dict[str, str]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[tuple[int, ...], ...]
    activations: tuple[str, ...]
    made: dict[str, Made]

    def in_port_layout(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of an input, the batch first, as the port takes it."""
        if self.input_layout == "NCT" and len(shape) == 3:
            return shape[0], shape[2], shape[1]
        return shape


class PortedModel(fx.GraphModule):
    """A Keras model in PyTorch: a graph of real modules under the names of the Keras
    layers.

    It takes one tensor for each input of the Keras model, in Keras' order and (unless
    built with ``input_layout="NCT"``) in Keras' layout ``[B, T, C]``. It returns what
    the Keras model returns, a tuple for several outputs. All weights can be trained,
    also those that Keras had frozen.

    >>> port = port_keras("model.keras")                      # doctest: +SKIP
    >>> port.conv1d                                           # doctest: +SKIP
    Conv1d(12, 64, kernel_size=(3,), stride=(1,), padding=same)
    >>> port.logits(x)                                        # doctest: +SKIP
    """

    @property
    def origin(self) -> Origin:
        """What the port was built from."""
        return self.meta["origin"]

    @property
    def contract(self) -> Contract | None:
        """Rate, leads, units, filters and classes that the model was trained with, if
        known.
        """
        return self.meta.get("contract")

    @property
    def source(self) -> dict[str, str]:
        """Name, kind and SHA-256 of the Keras file and of its weights; empty for a port
        without a file.
        """
        return self.meta.get("source", {})

    def agree(self, contract: Contract | Mapping[str, Any] | str) -> PortedModel:
        """Check a contract against the model and keep it; return the port.

        Args:
            contract: a `Contract`, its fields, or the name of a known one such as
                ``"pathology_avb"``.

        Raises:
            ConfigError: it contradicts the model, or is incomplete.
        """
        agreed = contract_of(contract)
        agreed.check(self.origin.inputs, self.origin.outputs, self.origin.activations)
        self.meta["contract"] = agreed
        return self

    @property
    def logits(self) -> fx.GraphModule:
        """The same model without its last softmax or sigmoid; it shares every weight.

        Explain these: a saturated softmax has no gradient.
        """
        graph = copy.deepcopy(self.graph)
        *others, last = graph.nodes
        last.args = fx.map_arg(
            last.args, lambda output: before_activation(output, self)[0]
        )
        for node in reversed(others):  # users first
            if not node.users and node.op != "placeholder":
                graph.erase_node(node)
        return fx.GraphModule(self, graph, "Logits")

    def __call__(self, *inputs: Any) -> Any:  # a forward hook would be lost in a copy
        """Check the inputs, then compute; see the class."""
        self.check_inputs(inputs)
        weights = filter(torch.is_floating_point, self.parameters())
        weight = next(weights, None)
        for name, x in zip(self.origin.inputs, inputs, strict=True):
            if weight is None or not x.is_floating_point():
                continue  # token numbers have no precision
            if x.dtype != weight.dtype:
                raise ConfigError(
                    f"The input {name!r} is {x.dtype}, the model {weight.dtype}: give "
                    f"x.to({weight.dtype})."
                )
        return super().__call__(*inputs)

    def check_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Refuse inputs of another number, rank or shape than the Keras model's.

        Raises:
            ConfigError: naming the input, its shape and the one it must have.
        """
        expected = self.origin.inputs
        if len(inputs) != len(expected):
            raise ConfigError(
                f"The model takes {len(expected)} inputs ({', '.join(expected)}); it "
                f"was given {len(inputs)}."
            )
        for (name, shape), x in zip(expected.items(), inputs, strict=True):
            if not isinstance(x, Tensor):
                raise ConfigError(
                    f"The input {name!r} must be a tensor; it was given "
                    f"{type(x).__name__}. An array becomes one by "
                    "torch.from_numpy(array).float()."
                )
            _, *sizes = self.origin.in_port_layout(shape)  # any batch
            if not fits(sizes, x.shape[1:]):
                text = ", ".join(["B", *size_texts(sizes)])
                raise ConfigError(
                    f"The input {name!r} must be a tensor of shape [{text}] "
                    f"({self.origin.input_layout}); it was given {list(x.shape)}. "
                    "Another length or lead order would not fail in this network, only "
                    "be wrong."
                )


def port_keras(
    path: str | Path,
    *,
    weights: str | Path | None = None,
    input_layout: str = "NTC",
    contract: Contract | Mapping[str, Any] | str | None = None,
) -> PortedModel:
    """Port a Keras model to PyTorch, without Keras or TensorFlow.

    Args:
        path: ``.keras``, whole ``.h5``, or ``model.json``.
        weights: the weights that belong to a ``model.json``; by default those beside
            it.
        input_layout: layout of rank-3 inputs: ``"NTC"`` as Keras, or ``"NCT"``.
        contract: what the model was trained with; see `PortedModel.agree`.

    Raises:
        PortError: the file is damaged, its weights are of another model, or it holds
            what cannot be ported; raised before anything is built.
    """
    file = read_keras(path, weights)
    with refuse_damaged(file.path):
        graph = parse_graph(file.config, major(file.keras_version))
        refuse_unknown(graph)
        file.weights.bind(graph, variables_of)
        port = build_port(graph, file.config, file.keras_version, input_layout)
        load_state(port, state_of(graph, port.origin.modules))
    port.meta["source"] = _source_of(file)
    return port if contract is None else port.agree(contract)


def build_port(
    graph: Graph, config: Config, keras_version: str, input_layout: str
) -> PortedModel:
    """Build the PyTorch model of a graph, with random weights."""
    if input_layout not in LAYOUTS:
        raise ConfigError(
            f"input_layout is {input_layout!r}; choose 'NTC' (batch, time, channel) or "
            "'NCT'."
        )
    keep_freed_memory()  # a port is run often on inputs of one size
    # the modules' first weights must not advance the user's random numbers
    with torch.random.fork_rng(devices=[]):
        writer = write_graph(graph, input_layout)
    network, outputs = writer.network, writer.outputs
    inputs = {}
    for ref in graph.inputs:
        inputs[ref.layer] = tuple(input_shape(graph.layers[ref.layer]))
    model = PortedModel(network.root, network.graph, "PortedModel")
    model.meta["origin"] = Origin(
        config=config,
        keras_version=keras_version,
        input_layout=input_layout,
        modules=writer.modules,
        inputs=inputs,
        outputs=tuple(value.shape for value in outputs),
        activations=writer.activations(),
        made=network.made,
    )
    return model.eval()


def _source_of(file: KerasFile) -> dict[str, str]:
    facts = {
        "file": file.path.name,
        "container": file.container,
        "sha256": sha256_file(file.path),
    }
    if file.weights_path != file.path:
        facts["weights"] = file.weights_path.name
        facts["weights_sha256"] = sha256_file(file.weights_path)
    return facts


def major(version: str) -> int:
    """Return the major version of Keras; 2 for a file without one, which is of Keras 2
    or older.
    """
    first = version.split(".")[0]
    return int(first) if first.isdigit() else 2
