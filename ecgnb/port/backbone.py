"""`KerasBackbone`: a ported classifier as a model to train, evaluate, explain and
bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import MODELS, Backbone, FeatureInfo
from ecgnb.port.build import output_nodes
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.ported import PortedModel, build_port, major
from ecgnb.port.reading.calls import Config
from ecgnb.port.reading.graph import fits, parse_graph

#: A node and the shape of its output, [1, C, T].
FeatureMap = tuple[fx.Node, tuple[int, ...]]


@MODELS.register("keras")
class KerasBackbone(Backbone):
    """A Keras classifier with one input, a last Dense layer and the six words of every
    model.

    The body returns the last feature map over time, the head what comes after it; the
    outputs are logits, before their softmax or sigmoid. Where a pooling drops an
    incomplete last window, a feature map is a step or two shorter than its
    ``reduction``.

    Args:
        keras_config: the Keras configuration, ``class_name`` and ``config``; it alone
            decides the architecture.
        keras_version: of the Keras that wrote it.

    Raises:
        ConfigError: there is no configuration, or the model has several inputs or
            outputs, another shape than the words, or another last layer.
    """

    def __init__(
        self,
        *,
        keras_config: Config | None = None,
        keras_version: str = "",
        **words: Any,
    ) -> None:
        super().__init__(**words)
        if keras_config is None:
            raise ConfigError(
                "The model 'keras' is defined by a Keras file. Port the file "
                "(`ecgnb port convert`) and name the folder: START_FROM trains from "
                "it, `--run` predicts with it."
            )
        graph = parse_graph(keras_config, major(keras_version))
        port = build_port(graph, keras_config, keras_version, "NCT")
        self._check_words(port)
        cut = _CutGraph(port)
        self.body = fx.GraphModule(port, cut.body(), "Body")
        hidden = fx.GraphModule(port, cut.hidden(), "Hidden")
        self.head = KerasHead(hidden, cut.classifier)
        self.feature_info = [
            FeatureInfo(
                name=f"body.{node.target}",
                channels=channels,
                reduction=round(self.n_samples / length),  # samples per step
            )
            for node, (_, channels, length) in cut.maps
        ]
        if cut.classifier.out_features != self.n_classes:  # other classes
            self.reset_classifier(self.n_classes)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those with the indices; see `Backbone`."""
        wanted = self._resolve_indices(indices)
        maps = self.body(x)
        return maps[-1], [maps[index] for index in wanted]

    def _check_words(self, port: PortedModel) -> None:
        inputs, outputs = port.origin.inputs, port.origin.outputs
        shape = next(iter(inputs.values()))  # [B, T, C]
        if len(inputs) != 1 or len(shape) != 3 or len(outputs) != 1:
            raise ConfigError(
                f"The Keras model has the inputs {inputs} and {len(outputs)} outputs. "
                "Only a model of one signal [B, T, C] and one output can be a "
                "backbone; use the port itself."
            )
        if not fits(shape[1:], (self.n_samples, self.n_leads)):
            raise ConfigError(
                f"The Keras model takes {shape[1]} samples of {shape[2]} leads, not "
                f"n_samples={self.n_samples}, n_leads={self.n_leads}."
            )


class KerasHead(nn.Module):
    """From the last feature map to logits.

    Attributes:
        hidden: what is between the feature map and the last Dense layer.
        classifier: that layer.
    """

    def __init__(self, hidden: fx.GraphModule, classifier: nn.Linear) -> None:
        super().__init__()
        self.hidden = hidden
        self.classifier = classifier

    def embed(self, features: Tensor) -> Tensor:
        """Return ``[B, F]`` of features ``[B, C, T']``."""
        return self.hidden(features)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, n_classes]`` of features ``[B, C, T']``."""
        return self.classifier(self.embed(features))


class _CutGraph:
    """The graph of a port's logits, cut after feature maps through which everything
    passes.
    """

    def __init__(self, port: PortedModel) -> None:
        graph = port.logits.graph
        (self.last,) = output_nodes(graph)
        self.nodes = list(graph.nodes)
        module: Any = None
        if self.last.op == "call_module":
            module = port.get_submodule(str(self.last.target))
        if not isinstance(module, nn.Linear):
            raise ConfigError(
                f"The Keras model ends in {type(module).__name__}, not in a Dense "
                "layer, so that its classifier cannot be replaced. Use the port itself."
            )
        self.classifier = module
        self.maps = self._feature_maps()
        if not self.maps:
            raise ConfigError(
                "The Keras model has no feature map [B, C, T] through which everything "
                "passes. Use the port itself."
            )

    def body(self) -> fx.Graph:
        """Return the graph from the signal to a tuple of all feature maps, channels
        first.
        """
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        last_map, _ = self.maps[-1]
        stop = self.nodes.index(last_map) + 1
        for node in self.nodes[:stop]:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        maps = [_channels_first(graph, copies[node], node) for node, _ in self.maps]
        graph.output(tuple(maps))
        return graph

    def hidden(self) -> fx.Graph:
        """Return the graph from the last feature map to the input of the classifier."""
        graph = fx.Graph()
        first, _ = self.maps[-1]
        features = graph.placeholder("features")
        copies = {first: _channels_first(graph, features, first)}
        start, stop = self.nodes.index(first) + 1, self.nodes.index(self.last)
        for node in self.nodes[start:stop]:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[self.last.all_input_nodes[0]])
        return graph

    def _feature_maps(self) -> list[FeatureMap]:
        """Return the last map of each length that all later nodes depend on, from first
        to last.
        """
        last_use: dict[fx.Node, int] = {}  # index of the last node that needs a node
        for index, node in enumerate(self.nodes):
            last_use.update(dict.fromkeys(node.all_input_nodes, index))
        maps: dict[int, FeatureMap] = {}
        alive: set[fx.Node] = set()  # nodes whose output is still needed
        for index, node in enumerate(self.nodes[: self.nodes.index(self.last)]):
            alive = {n for n in alive | {node} if last_use.get(n, 0) > index}
            shape = node.meta.get("shape", ())
            if alive != {node} or node.op != "call_module" or len(shape) != 3:
                continue
            if "keras" in node.meta:  # not a padding before a layer
                if node.meta["layout"] != CHANNELS_FIRST:
                    shape = (shape[0], shape[2], shape[1])  # [1, T, C] -> [1, C, T]
                maps.pop(shape[2], None)  # of one length the last, in order
                maps[shape[2]] = (node, shape)
        return list(maps.values())


def _channels_first(graph: fx.Graph, copy: fx.Node, node: fx.Node) -> fx.Node:
    """Transpose a map that has time before channels; the same transposes it back."""
    if node.meta["layout"] == CHANNELS_FIRST:
        return copy
    return graph.call_method("transpose", (copy, 1, 2))


def backbone_of(port: PortedModel) -> KerasBackbone:
    """Return a ported classifier as a backbone with the same weights.

    Args:
        port: a port with one input, one output and a contract.

    Raises:
        ConfigError: the port has no contract, or cannot be a backbone; see
            `KerasBackbone`.
    """
    contract = port.contract
    if contract is None:
        raise ConfigError(
            "The port has no contract: the Keras file does not contain rate, units, "
            "lead order, filters and classes. Give them with `ecgnb port convert "
            "--contract FILE`, or in Python with port.agree(Contract(...))."
        )
    model = KerasBackbone(
        keras_config=port.origin.config,
        keras_version=port.origin.keras_version,
        n_leads=len(contract.leads),
        n_samples=contract.n_samples,
        fs=contract.fs,
        n_classes=port.origin.outputs[0][-1],  # of the file, to load its weights
        leads=contract.leads,
        task=contract.task,
    )
    (logits,) = output_nodes(port.logits.graph)
    weights = port.state_dict()
    state = {}
    for key in model.state_dict():
        name = key.replace("head.classifier", str(logits.target))
        # body and hidden are parts of the port, with its names
        name = name.removeprefix("body.").removeprefix("head.hidden.")
        state[key] = weights[name]
    model.load_state_dict(state, strict=True)
    return model.eval()
