"""`PortedModel`: a Keras model as a PyTorch module, and `port_keras`, which makes it of
a file.
"""

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
from ecgnb.port.network import Made
from ecgnb.port.reading.graph import Graph, input_shape, parse_graph
from ecgnb.port.reading.keras_file import KerasFile, read_keras, refuse_damaged

LAYOUTS = ("NTC", "NCT")


@dataclass(frozen=True)
class Origin:
    """What a port was made of; enough to build it again without its file.

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

    config: dict[str, Any]
    keras_version: str
    input_layout: str
    modules: dict[str, str]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[tuple[int, ...], ...]
    activations: tuple[str, ...]
    made: dict[str, Made]


class PortedModel(fx.GraphModule):
    """A Keras model in PyTorch: a graph of real modules under the names of the Keras
    layers.

    Called with one tensor for each input of the Keras model, in Keras' order and
    (unless ``input_layout="NCT"`` was asked for) in Keras' layout ``[B, T, C]``. It
    returns what the Keras model returns, a tuple for several outputs. All weights can
    be trained, those too that Keras had frozen.

    >>> port = port_keras("model.keras")                      # doctest: +SKIP
    >>> port.conv1d                                           # doctest: +SKIP
    Conv1d(12, 64, kernel_size=(3,), stride=(1,), padding=same)
    >>> port.logits(x)                                        # doctest: +SKIP
    """

    @property
    def origin(self) -> Origin:
        """What the port was made of."""
        return self.meta["origin"]

    @property
    def contract(self) -> Contract | None:
        """Rate, leads, units, filters and classes that the model was trained with;
        ``None`` when nobody told them.
        """
        return self.meta.get("contract")

    @property
    def source(self) -> dict[str, str]:
        """Name, kind and SHA-256 of the Keras file and of its weights; empty when the
        port was made without a file.
        """
        return self.meta.get("source", {})

    def agree(self, contract: Contract | Mapping[str, Any] | str) -> PortedModel:
        """Give the port its contract, once it was checked against the model; return the
        port.

        Args:
            contract: a `Contract`, its fields, or the name of a known one such as
                ``"pathology_avb"``.

        Raises:
            ConfigError: it contradicts the model, or is incomplete.
        """
        agreed = contract_of(contract)
        assert agreed is not None
        agreed.check(self.origin.inputs, self.origin.outputs, self.origin.activations)
        self.meta["contract"] = agreed
        return self

    @property
    def logits(self) -> fx.GraphModule:
        """The same model without its last softmax or sigmoid; it shares every weight.

        Explain these: a saturated softmax has no gradient.
        """
        graph = copy.deepcopy(self.graph)
        last = next(node for node in graph.nodes if node.op == "output")
        outputs = last.args[0] if isinstance(last.args[0], tuple) else (last.args[0],)
        modules = dict(self.named_modules())
        before = tuple(before_activation(node, modules)[0] for node in outputs)
        last.args = (before if len(before) > 1 else before[0],)
        for node in reversed(graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                graph.erase_node(node)
        return fx.GraphModule(self, graph, "Logits")

    def __call__(self, *inputs: Any) -> Any:  # a hook would be lost in a copy
        """Check the inputs, then compute; see the class."""
        self.check_inputs(inputs)
        own = next(
            (
                weight.dtype
                for weight in self.parameters()
                if weight.is_floating_point()
            ),
            None,
        )
        for name, given in zip(self.origin.inputs, inputs, strict=True):
            if given.is_floating_point() and own not in (None, given.dtype):
                raise ConfigError(
                    f"The input {name!r} is {given.dtype}, the model {own}: give x.to({own})."
                )
        return super().__call__(*inputs)

    def check_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Refuse inputs of another number, rank or shape than the Keras model's.

        Raises:
            ConfigError: naming the input, its shape and the one it must have.
        """
        wanted = self.origin.inputs
        if len(inputs) != len(wanted):
            raise ConfigError(
                f"The model takes {len(wanted)} inputs ({', '.join(wanted)}); it was given {len(inputs)}."
            )
        for (name, shape), given in zip(wanted.items(), inputs, strict=True):
            layout = self.origin.input_layout
            turned = (
                (shape[0], shape[2], shape[1])
                if layout == "NCT" and len(shape) == 3
                else shape
            )
            if not isinstance(given, Tensor):
                raise ConfigError(
                    f"The input {name!r} must be a tensor; it was given {type(given).__name__}. An array becomes one "
                    "by torch.from_numpy(array).float()."
                )
            if not _fits(turned, given.shape):
                found = list(given.shape)
                raise ConfigError(
                    f"The input {name!r} must be a tensor of shape {_said(turned)} ({layout}); it was given {found}. "
                    "Another length or lead order would not fail in this network, only be wrong."
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
        path: ``.keras``, whole ``.h5``, or ``model.json`` (its weights beside it, or
            given).
        weights: the weights that belong to a ``model.json``.
        input_layout: layout of rank-3 inputs: ``"NTC"`` as Keras, or ``"NCT"``.
        contract: what the model was trained with; see `PortedModel.agree`.

    Raises:
        PortError: the file is damaged, its weights are of another model, or it holds
            what cannot be ported; all of that is told before anything is built.
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
    graph: Graph, config: dict[str, Any], keras_version: str, input_layout: str
) -> PortedModel:
    """Build the PyTorch model of a graph; its weights are still PyTorch's first, random
    ones.
    """
    if input_layout not in LAYOUTS:
        raise ConfigError(
            f"input_layout is {input_layout!r}; choose 'NTC' (batch, time, channel) or 'NCT'."
        )
    keep_freed_memory()
    with torch.random.fork_rng(
        devices=[]
    ):  # the modules' own first weights must not move the user's random numbers
        written = write_graph(graph, input_layout)
    modules = dict(written.network.root.named_modules())
    model = PortedModel(written.network.root, written.network.graph, "PortedModel")
    model.meta["origin"] = Origin(
        config,
        keras_version,
        input_layout,
        written.modules,
        {
            ref.layer: tuple(input_shape(graph.layers[ref.layer]))
            for ref in graph.inputs
        },
        tuple(value.shape for value in written.outputs),
        tuple(before_activation(value.node, modules)[1] for value in written.outputs),
        written.network.made,
    )
    return model.eval()


def _source_of(file: KerasFile) -> dict[str, str]:
    facts = {
        "file": file.path.name,
        "container": file.container,
        "sha256": sha256_file(file.path),
    }
    if file.weights_path != file.path:
        facts |= {
            "weights": file.weights_path.name,
            "weights_sha256": sha256_file(file.weights_path),
        }
    return facts


def major(version: str) -> int:
    """Return the major version of Keras; a file that tells none is of Keras 2 or
    older.
    """
    first = version.split(".")[0]
    return int(first) if first.isdigit() else 2


def _fits(wanted: tuple[int | None, ...], shape: Any) -> bool:
    return len(wanted) == len(shape) and all(
        w in (None, s) for w, s in zip(wanted[1:], shape[1:], strict=True)
    )


def _said(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join(['B', *('any' if size is None else str(size) for size in shape[1:])])}]"
