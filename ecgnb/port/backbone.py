"""`KerasBackbone`: a ported classifier as a model of the workbench, to train, evaluate,
explain and bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.models.base import MODELS, Backbone, FeatureInfo
from ecgnb.port.ported import PortedModel, build_port, major
from ecgnb.port.reading.graph import parse_graph


@MODELS.register("keras")
class KerasBackbone(Backbone):
    """A Keras classifier with one input, a last Dense layer and the six words of every
    model.

    The body gives the last feature map over time, the head what comes after it; logits
    stand for the outputs before their softmax or sigmoid. Where a pooling drops an
    incomplete last window, a feature map is a step or two shorter than its
    ``reduction`` says.

    Args:
        keras_config: the Keras configuration, ``class_name`` and ``config``; it alone
            decides the architecture.
        keras_version: of the Keras that wrote it.

    Raises:
        ConfigError: no configuration is given, or the model has several inputs or
            outputs, another shape than the words say, or another end.
    """

    def __init__(
        self,
        *,
        keras_config: dict[str, Any] | None = None,
        keras_version: str = "",
        **words: Any,
    ) -> None:
        super().__init__(**words)
        if keras_config is None:
            raise ConfigError(
                "The model 'keras' is what a Keras file says it is. Port the file (`ecgnb port convert`) and name the "
                "folder: START_FROM trains from it, `--run` predicts with it."
            )
        port = build_port(
            parse_graph(keras_config, major(keras_version)),
            keras_config,
            keras_version,
            "NCT",
        )
        self._check_words(port)
        nodes = _Parts(port)
        self.body = fx.GraphModule(port, nodes.body(), "Body")
        self.head = KerasHead(
            fx.GraphModule(port, nodes.hidden(), "Hidden"), nodes.classifier
        )
        self.feature_info = [
            FeatureInfo(
                name=f"body.{node.target}",
                channels=shape[1],
                reduction=round(self.n_samples / shape[2]),
            )
            for node, shape in nodes.maps
        ]
        if nodes.classifier.out_features != self.n_classes:
            self.reset_classifier(self.n_classes)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those asked for; see `Backbone`."""
        wanted = self._resolve_indices(indices)
        maps = self.body(x)
        return maps[-1], [maps[index] for index in wanted]

    def _check_words(self, port: PortedModel) -> None:
        inputs = port.origin.inputs
        shape = next(iter(inputs.values()))
        if len(inputs) != 1 or len(shape) != 3 or len(port.origin.activations) != 1:
            raise ConfigError(
                f"The Keras model has the inputs {inputs} and {len(port.origin.activations)} outputs. Only one signal "
                "[B, T, C] in and one output can be a model of the workbench; use the port itself."
            )
        if shape[1] not in (None, self.n_samples) or shape[2] not in (
            None,
            self.n_leads,
        ):
            raise ConfigError(
                f"The Keras model takes {shape[1]} samples of {shape[2]} leads; it was asked for n_samples="
                f"{self.n_samples}, n_leads={self.n_leads}."
            )


class KerasHead(nn.Module):
    """From the last feature map to logits.

    Attributes:
        hidden: what lies between the feature map and the last Dense layer.
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


class _Parts:
    """Where the graph of a port's logits is cut: after feature maps through which
    everything passes.
    """

    def __init__(self, port: PortedModel) -> None:
        self.graph = port.logits.graph
        last = next(node for node in self.graph.nodes if node.op == "output").args[0]
        classifier = (
            port.get_submodule(str(last.target)) if last.op == "call_module" else None
        )
        if not isinstance(classifier, nn.Linear):
            raise ConfigError(
                f"The Keras model ends in {type(classifier).__name__}, not in a Dense layer, so that its classifier "
                "cannot be replaced. Use the port itself."
            )
        self.classifier, self.last = classifier, last
        self.maps = self._feature_maps()
        if not self.maps:
            raise ConfigError(
                "The Keras model has no feature map [B, C, T] that all passes through. Use the port."
            )

    def body(self) -> fx.Graph:
        """Return the graph from the signal to a tuple of all feature maps, channels
        first.
        """
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node is self.maps[-1][0]:
                break
        graph.output(
            tuple(_channels_first(graph, copies[node], node) for node, _ in self.maps)
        )
        return graph

    def hidden(self) -> fx.Graph:
        """Return the graph from the last feature map to the input of the classifier."""
        graph = fx.Graph()
        features = graph.placeholder("features")
        copies = {self.maps[-1][0]: _channels_first(graph, features, self.maps[-1][0])}
        listed = list(self.graph.nodes)
        for node in listed[
            listed.index(self.maps[-1][0]) + 1 : listed.index(self.last)
        ]:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[self.last.args[0]])
        return graph

    def _feature_maps(self) -> list[tuple[fx.Node, tuple[int, ...]]]:
        """Return the last such map of each length, and its shape [1, C, T], from first
        to last.
        """
        found: dict[int, tuple[fx.Node, tuple[int, ...]]] = {}
        alive: set[fx.Node] = set()
        listed = list(self.graph.nodes)
        place = {node: number for number, node in enumerate(listed)}
        for node in listed[: place[self.last]]:
            alive = {
                each
                for each in alive | {node}
                if any(place[user] > place[node] for user in each.users)
            }
            shape = node.meta.get("shape", ())
            if (
                alive == {node}
                and "keras" in node.meta
                and node.op == "call_module"
                and len(shape) == 3
            ):
                shape = (
                    shape
                    if node.meta["layout"] == "nct"
                    else (shape[0], shape[2], shape[1])
                )
                found[shape[2]] = (node, shape)
        return sorted(found.values(), key=lambda item: place[item[0]])


def _channels_first(graph: fx.Graph, copy: fx.Node, node: fx.Node) -> fx.Node:
    """Turn a map that Keras' layout has between the channels and time; turning back is
    the same.
    """
    return (
        copy
        if node.meta["layout"] == "nct"
        else graph.call_method("transpose", (copy, 1, 2))
    )


def backbone_of(port: PortedModel) -> KerasBackbone:
    """Return a ported classifier as a model of the workbench, with the same weights.

    Args:
        port: a port with one input, one output and a contract.

    Raises:
        ConfigError: the port has no contract, or cannot be a model of the workbench;
            see `KerasBackbone`.
    """
    contract = port.contract
    if contract is None:
        raise ConfigError(
            "The port has no contract: the Keras file does not tell rate, units, lead order, filters and classes. "
            "Give them with `ecgnb port convert --contract FILE`, or in Python with port.agree(Contract(...))."
        )
    last = next(node for node in port.logits.graph.nodes if node.op == "output").args[0]
    model = KerasBackbone(
        keras_config=port.origin.config,
        keras_version=port.origin.keras_version,
        n_leads=len(contract.leads),
        n_samples=contract.n_samples,
        fs=contract.fs,
        n_classes=port.origin.outputs[0][-1],
        leads=contract.leads,
        task=contract.task,
    )
    own = dict(port.named_parameters()) | dict(port.named_buffers())
    state = {
        key: own[
            key.replace("head.classifier", str(last.target))
            .removeprefix("body.")
            .removeprefix("head.hidden.")
        ]
        for key in model.state_dict()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()
