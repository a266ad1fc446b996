"""Layer-wise relevance propagation (LRP): a backward pass through the model's graph,
node by node.

Bach et al. 2015, "On pixel-wise explanations for non-linear classifier decisions by
layer-wise relevance propagation", PLoS ONE 10(7); Montavon et al. 2019, "Layer-wise
relevance propagation: an overview". It begins with the target's logit as the relevance
of the output.

Layers with weights follow the chosen rule. Averages, sums and other linear operations
without weights share relevance by contribution (LRP-z), activations pass it on
unchanged, maxima give it to the winner. A batch normalisation behind a convolution or a
dense layer is merged with it; elsewhere it is a layer of its own. In a product of two
tensors (squeeze and excitation, gates) the signal takes all relevance and the gate none
(Arras et al. 2019, "Explaining and interpreting LSTMs"); the gate is the operand that
is the output of a sigmoid, tanh or softmax, or else the smaller one.

Activations that saturate (ELU far below 0) give a maximum equal values to choose from,
and rounding decides which one is the winner: two correct programs may then differ by
some per cent. Compare in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ecgnb.core.errors import ConfigError
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, Tensors, prepared
from ecgnb.explain.kinds import describe, is_gate, is_linear, module_of, node_kind
from ecgnb.explain.rules import (
    AlphaBeta,
    Epsilon,
    EpsilonStd,
    Layer,
    Rule,
    Sign,
    Weights,
)
from ecgnb.explain.tracing import Recording, trace

#: Part of its scale by which a logit may differ between the model and its graph.
_TOLERANCE = 1e-3

#: Nodes and the relevance that arrives at them.
Relevances = Iterable[tuple[fx.Node, Tensor]]


def lrp(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    rule: Rule | None = None,
    input_rule: Rule | None = None,
) -> Inputs:
    """Return the relevance of every input value for the target's logit.

    Args:
        model: gives logits ``[B, K]``; a ``torch.fx.GraphModule``, or a model that
            torch.fx can trace.
        inputs: a tensor ``[B, ...]`` or a tuple of tensors.
        target: see `ecgnb.explain.base.Target`.
        rule: of all layers with weights; `EpsilonStd` with 0.5 when left out.
        input_rule: of the first such layer behind each input; ``rule`` when left out.

    Returns:
        Relevances of the inputs' shapes, in logits. Without biases and with epsilon 0 a
        record's sum to its logit.

    Raises:
        ConfigError: the model cannot be traced, or contains an operation of unknown
            kind, such as a recurrent layer or attention; else see
            `ecgnb.explain.base.prepared`.
    """
    rule = rule or EpsilonStd()
    with prepared(model, inputs, target) as case:
        recording = Recording(trace(case.model))
        with torch.no_grad():
            logits = recording.run(*case.inputs)
        _check_logits(case, logits)
        is_target = nn.functional.one_hot(case.target, logits.shape[1]).bool()  # [B, K]
        start = torch.where(is_target, logits, 0.0)
        propagation = _Propagation(recording, rule, input_rule or rule)
        return case.pack(propagation.to_inputs(start))


def _check_logits(case: Case, logits: Tensor) -> None:
    scale = case.logits.abs().max().clamp(min=1.0)
    if (logits - case.logits).abs().max() > _TOLERANCE * scale:
        raise ConfigError(
            f"The graph of {type(case.model).__name__} gives other logits than the "
            "model: its forward depends on values or changes tensors in place. Use "
            "method='integrated_gradients'."
        )


class _Propagation:
    """One backward pass from the output of a recorded graph to its inputs."""

    def __init__(self, recording: Recording, rule: Rule, input_rule: Rule) -> None:
        self.recording = recording
        self.root = recording.root
        self.rule, self.input_rule = rule, input_rule
        self.relevance: dict[fx.Node, Tensor] = {}
        #: Of nodes that return several tensors: relevance by item.
        self.items: dict[fx.Node, dict[int | None, Tensor]] = {}
        self.behind_layers = self._nodes_behind_layers()

    def to_inputs(self, start: Tensor) -> Tensors:
        """Return the relevance of each input, zeros where none arrives."""
        nodes = list(self.recording.graph.nodes)
        self.relevance[nodes[-1].all_input_nodes[0]] = start  # of the logits
        for node in reversed(nodes):
            is_call = node.op not in ("placeholder", "get_attr")
            if node in self.items or (node in self.relevance and is_call):
                for source, share in self._step(node):
                    if source in self.relevance:
                        share = self.relevance[source] + share  # it has several users
                    self.relevance[source] = share
        inputs = []
        for node in nodes:
            if node.op == "placeholder":
                zeros = torch.zeros_like(self.recording.values[node])
                inputs.append(self.relevance.get(node, zeros))
        return tuple(inputs)

    def _step(self, node: fx.Node) -> Relevances:
        """Return the relevance that a node passes to its sources."""
        kind = node_kind(node, self.root)
        sources = self.recording.sources(node)
        if node in self.items:
            if kind not in ("rearrange", "winner"):
                raise self._no_rule(node)
            return self._move(node, sources, self.items.pop(node))
        relevance = self.relevance.pop(node)
        if not sources:  # computed from integers, such as a mask: relevance ends here
            return []
        if kind == "linear" and is_linear(node, sources):
            return self._linear(node, relevance)
        if kind == "elementwise" and len(sources) == 1:
            return [(sources[0], relevance)]  # unchanged
        if kind == "product":
            signal = self._signal(node, sources)
            shape = self.recording.values[signal].shape
            return [(signal, relevance.sum_to_size(shape))]  # a signal may be broadcast
        if kind not in ("rearrange", "winner"):
            raise self._no_rule(node)
        if isinstance(self.recording.values[sources[0]], Tensor):
            return self._move(node, sources, {None: relevance})
        # An item of a node that returns several tensors waits for the others.
        item = node.args[1] if isinstance(node.args[1], int) else 0
        self.items.setdefault(sources[0], {})[item] = relevance
        return []

    def _move(
        self,
        node: fx.Node,
        sources: list[fx.Node],
        relevance: Mapping[int | None, Tensor],
    ) -> Relevances:
        """Move relevance to the value that each output is; equal maxima share it.

        Args:
            node: only moves values.
            sources: its inputs.
            relevance: by item of its output; ``None`` for an output that is a tensor.
        """
        leaves = {}
        for source in sources:
            leaves[source] = self.recording.values[source].detach().requires_grad_()
        output = self.recording.replay(node, leaves)
        outputs = [output if item is None else output[item] for item in relevance]
        values = list(leaves.values())
        moved = torch.autograd.grad(outputs, values, list(relevance.values()))
        return zip(sources, moved, strict=True)

    def _linear(self, node: fx.Node, relevance: Tensor) -> Relevances:
        """Share relevance by the rule."""
        node, module = self._merged(node)
        sources = self.recording.sources(node)
        weights = dict(module.named_parameters()) if module is not None else {}
        rule: Rule = Epsilon(0.0)  # of sums and averages
        if weights:
            # first layer
            rule = self.rule if node in self.behind_layers else self.input_rule

        def run(inputs: Sequence[Tensor], weights: Weights) -> Tensor:
            replaced = dict(zip(sources, inputs, strict=True))
            return self.recording.replay(node, replaced, module, weights)

        layer = Layer(describe(node, self.root), run, weights)
        inputs = [self.recording.values[source] for source in sources]
        return zip(sources, rule(layer, inputs, relevance), strict=True)

    def _merged(self, node: fx.Node) -> tuple[fx.Node, nn.Module | None]:
        """Return the node and the module to run: for a normalisation behind a layer
        that layer, merged with it.
        """
        module = module_of(node, self.root)
        if not isinstance(module, _BatchNorm):
            return node, module
        source = node.all_input_nodes[0]
        if len(source.users) == 1:
            layer = module_of(source, self.root)
            if isinstance(layer, nn.Conv1d | nn.Conv2d):
                return source, fuse_conv_bn_eval(layer, module)
            rank = self.recording.values[source].ndim
            # else its last axis is not the channels
            if isinstance(layer, nn.Linear) and rank == 2:
                return source, fuse_linear_bn_eval(layer, module)
        return node, _Affine(module, self.recording.values[node].ndim)

    def _signal(self, node: fx.Node, sources: list[fx.Node]) -> fx.Node:
        """Return the operand of a product that takes the relevance."""
        signals = [source for source in sources if not is_gate(source, self.root)]
        signals = signals or sources  # all are gates
        sizes = [self.recording.values[signal].numel() for signal in signals]
        largest = max(sizes)  # a gate has fewer elements and is broadcast
        if sizes.count(largest) > 1:
            raise self._no_rule(
                node, "it multiplies two signals of one size, and neither is a gate"
            )
        return signals[sizes.index(largest)]

    def _nodes_behind_layers(self) -> set[fx.Node]:
        """Return the nodes that have a layer with weights between themselves and an
        input.
        """
        behind: set[fx.Node] = set()
        for node in self.recording.graph.nodes:
            for source in node.all_input_nodes:
                if source in behind or self._has_weights(source):
                    behind.add(node)
        return behind

    def _has_weights(self, node: fx.Node) -> bool:
        module = module_of(node, self.root)
        if module is None or node_kind(node, self.root) != "linear":
            return False
        # One without factor and shift scales all the same.
        return isinstance(module, _BatchNorm) or bool(list(module.parameters()))

    def _no_rule(
        self, node: fx.Node, reason: str = "no rule is known for it"
    ) -> ConfigError:
        return ConfigError(
            f"LRP stops at {describe(node, self.root)}: {reason}. Use "
            "method='integrated_gradients' or 'gradient_x_input'; a module of your own "
            "can declare its kind by a class attribute, such as relevance = 'linear'."
        )


class _Affine(nn.Module):
    """A batch normalisation in evaluation mode: one factor and one shift per
    channel.
    """

    def __init__(self, norm: _BatchNorm, rank: int) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        gamma = 1.0 if norm.weight is None else norm.weight
        beta = 0.0 if norm.bias is None else norm.bias
        factor = (norm.running_var + norm.eps).rsqrt() * gamma  # [C]
        shift = beta - norm.running_mean * factor
        shape = (-1, *[1] * (rank - 2))  # [C, 1] for [B, C, T]
        self.weight = nn.Parameter(factor.detach().view(shape))
        self.bias = nn.Parameter(shift.detach().view(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


@EXPLAINERS.register("lrp_z")
def lrp_z(model: nn.Module, inputs: Inputs, target: Target = None) -> Inputs:
    """`lrp` with the z rule, also called LRP-0; of a network with ReLU alone it is
    gradient times input.
    """
    return lrp(model, inputs, target, rule=Epsilon(0.0))


@EXPLAINERS.register("lrp_epsilon")
def lrp_epsilon(
    model: nn.Module, inputs: Inputs, target: Target = None, *, epsilon: float = 0.01
) -> Inputs:
    """`lrp` with the epsilon rule; ``epsilon`` is absolute, so its effect depends on
    the scale of the activations.
    """
    return lrp(model, inputs, target, rule=Epsilon(epsilon))


@EXPLAINERS.register("lrp_epsilon_std")
def lrp_epsilon_std(
    model: nn.Module, inputs: Inputs, target: Target = None, *, factor: float = 0.5
) -> Inputs:
    """`lrp` with an epsilon of ``factor`` times the standard deviation of each layer's
    input.
    """
    return lrp(model, inputs, target, rule=EpsilonStd(factor))


@EXPLAINERS.register("lrp_alpha_1_beta_0")
def lrp_alpha_1_beta_0(
    model: nn.Module, inputs: Inputs, target: Target = None
) -> Inputs:
    """`lrp` with the alpha-beta rule (1, 0): positive contributions only."""
    return lrp(model, inputs, target, rule=AlphaBeta(1.0, 0.0))


@EXPLAINERS.register("lrp_alpha_2_beta_1")
def lrp_alpha_2_beta_1(
    model: nn.Module, inputs: Inputs, target: Target = None
) -> Inputs:
    """`lrp` with the alpha-beta rule (2, 1)."""
    return lrp(model, inputs, target, rule=AlphaBeta(2.0, 1.0))


@EXPLAINERS.register("lrp_sign_epsilon_std")
def lrp_sign_epsilon_std(
    model: nn.Module, inputs: Inputs, target: Target = None, *, factor: float = 0.5
) -> Inputs:
    """`lrp_epsilon_std` with the SIGN rule at the first layer (Gumpfer et al. 2023)."""
    return lrp(
        model,
        inputs,
        target,
        rule=EpsilonStd(factor),
        input_rule=Sign(EpsilonStd(factor)),
    )
