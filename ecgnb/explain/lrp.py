"""Layer-wise relevance propagation: a walk back through the model's graph, node by
node.

Bach et al. 2015, "On pixel-wise explanations for non-linear classifier decisions by
layer-wise relevance propagation", PLoS ONE 10(7); Montavon et al. 2019, "Layer-wise
relevance propagation: an overview". The walk begins with the target's logit as the
relevance of the output.

Layers with weights take the chosen rule. Averages, sums and other linear operations
without weights share relevance by contribution (LRP-z), activations pass it on
unchanged, maxima give it to the winner. A batch normalisation behind a convolution or a
dense layer makes one layer with it; elsewhere it is a layer of its own. Of a product of
two tensors (squeeze and excitation, gates) the signal takes all relevance and the gate
none (Arras et al. 2019, "Explaining and interpreting LSTMs"); the gate is the operand
that came out of a sigmoid, tanh or softmax, or else the smaller one.

Activations that saturate (ELU far below 0) leave a maximum equal values to choose from,
and rounding decides which one is the winner: two correct programs may then differ by
some per cent. Compare in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ecgnb.core.errors import ConfigError
from ecgnb.explain.base import EXPLAINERS, Inputs, Target, asked
from ecgnb.explain.kinds import describe, is_gate, needs_a_constant, node_kind
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

#: By how much of its scale a logit may differ between the model and its graph.
_TOLERANCE = 1e-3


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
        ConfigError: the model cannot be traced, or holds an operation without a known
            rule, such as a recurrent layer or attention; else as
            `ecgnb.explain.base.asked` tells.
    """
    rule = rule or EpsilonStd()
    with asked(model, inputs, target) as case:
        graph = trace(case.model)
        recording = Recording(graph)
        with torch.no_grad():
            logits = recording.run(*case.inputs)
        if (
            logits - case.logits
        ).abs().max() > _TOLERANCE * case.logits.abs().max().clamp(min=1.0):
            raise ConfigError(
                f"The graph of {type(case.model).__name__} gives other logits than the model: its forward depends on "
                "values or changes tensors in place. Use method='integrated_gradients'."
            )
        start = torch.zeros_like(logits).scatter(
            1, case.target[:, None], logits.gather(1, case.target[:, None])
        )
        found = _Walk(recording, rule, input_rule or rule).back(start)
        return case.pack(
            tuple(
                torch.zeros_like(x) if r is None else r
                for x, r in zip(case.inputs, found, strict=True)
            )
        )


class _Walk:
    """One walk from the output of a recorded graph to its inputs."""

    def __init__(self, recording: Recording, rule: Rule, input_rule: Rule) -> None:
        self.recording = recording
        self.root = recording.root
        self.rule, self.input_rule = rule, input_rule
        self.relevance: dict[fx.Node, Tensor] = {}
        self.pieces: dict[
            fx.Node, dict[int, Tensor]
        ] = {}  # of nodes that make several tensors
        self.later = self._behind_a_layer()

    def back(self, start: Tensor) -> list[Tensor | None]:
        """Return the relevance of each input, ``None`` where none arrives."""
        nodes = list(self.recording.graph.nodes)
        self.relevance[nodes[-1].all_input_nodes[0]] = start
        for node in reversed(nodes):
            if node in self.pieces or (
                node in self.relevance and node.op not in ("placeholder", "get_attr")
            ):
                for source, part in self._step(node):
                    before = self.relevance.get(source)
                    self.relevance[source] = part if before is None else before + part
        return [self.relevance.get(node) for node in nodes if node.op == "placeholder"]

    def _step(self, node: fx.Node) -> Sequence[tuple[fx.Node, Tensor]]:
        kind = node_kind(node, self.root)
        sources = self.recording.sources(node)
        if node in self.pieces:
            if kind not in ("rearrange", "winner"):
                raise self._no_rule(node)
            return self._moved(node, sources)
        given = self.relevance.pop(node)
        if not sources:  # made of the inputs by way of whole numbers, such as a mask: relevance ends here
            return []
        if kind == "linear" and not (
            needs_a_constant(node) and (len(sources) > 1 or node.args[0] not in sources)
        ):
            return self._linear(node, sources, given)
        if kind == "elementwise" and len(sources) == 1:
            return [(sources[0], given)]
        if kind == "product":
            signal = self._signal(node, sources)
            return [(signal, given.sum_to_size(self.recording.values[signal].shape))]
        if kind in ("rearrange", "winner"):
            return self._moved(node, sources, given)
        raise self._no_rule(node)

    def _moved(
        self, node: fx.Node, sources: list[fx.Node], given: Tensor | None = None
    ) -> Sequence[tuple[fx.Node, Tensor]]:
        """Move relevance to where each value came from; a maximum shared by equals is
        shared among them.
        """
        first = self.recording.values[sources[0]]
        if not isinstance(
            first, Tensor
        ):  # an item of a node that makes several tensors
            assert given is not None
            self.pieces.setdefault(sources[0], {})[
                node.args[1] if isinstance(node.args[1], int) else 0
            ] = given
            return []
        leaves = {
            source: self.recording.values[source].detach().requires_grad_()
            for source in sources
        }
        out = self.recording.replay(node, leaves)
        pieces = self.pieces.pop(node, {}) if given is None else {}
        outs, parts = (
            ([out], [given])
            if given is not None
            else ([out[k] for k in pieces], list(pieces.values()))
        )
        return list(
            zip(
                sources,
                torch.autograd.grad(outs, list(leaves.values()), parts),
                strict=True,
            )
        )

    def _linear(
        self, node: fx.Node, sources: list[fx.Node], given: Tensor
    ) -> Sequence[tuple[fx.Node, Tensor]]:
        """Share relevance by the rule; a normalisation behind a layer is taken together
        with it.
        """
        before, module = self._merged(node)
        if before is not None:
            node, sources = before, self.recording.sources(before)
        weights = dict(module.named_parameters()) if module is not None else {}

        def run(inputs: Sequence[Tensor], weights: Weights) -> Tensor:
            return self.recording.replay(
                node, dict(zip(sources, inputs, strict=True)), module, weights
            )

        rule = (
            Epsilon(0.0)
            if not weights
            else self.rule
            if node in self.later
            else self.input_rule
        )
        layer = Layer(describe(node, self.root), run, weights)
        inputs = [self.recording.values[source] for source in sources]
        return list(zip(sources, rule(layer, inputs, given), strict=True))

    def _merged(self, node: fx.Node) -> tuple[fx.Node | None, nn.Module | None]:
        """Return the layer that a normalisation makes one with, if any, and the module
        to run.
        """
        if node.op != "call_module":
            return None, None
        module = self.root.get_submodule(str(node.target))
        if not isinstance(module, _BatchNorm):
            return None, module
        before = node.all_input_nodes[0]
        if before.op == "call_module" and len(before.users) == 1:
            inner = self.root.get_submodule(str(before.target))
            if isinstance(inner, nn.Conv1d | nn.Conv2d):
                return before, fuse_conv_bn_eval(inner, module)
            if isinstance(inner, nn.Linear) and self.recording.values[before].ndim == 2:
                return before, fuse_linear_bn_eval(inner, module)
        return None, _Affine(module, self.recording.values[node].ndim)

    def _signal(self, node: fx.Node, sources: list[fx.Node]) -> fx.Node:
        """Return the operand of a product that takes the relevance."""
        signals = [
            source for source in sources if not is_gate(source, self.root)
        ] or sources
        sizes = [self.recording.values[source].numel() for source in signals]
        if not sizes or sizes.count(max(sizes)) > 1:
            raise self._no_rule(
                node, "it multiplies two signals of one size, and neither is a gate"
            )
        return signals[sizes.index(max(sizes))]

    def _behind_a_layer(self) -> set[fx.Node]:
        """Return the nodes that have a layer with weights between themselves and an
        input.
        """
        later: set[fx.Node] = set()
        for node in self.recording.graph.nodes:
            if any(
                source in later or self._has_weights(source)
                for source in node.all_input_nodes
            ):
                later.add(node)
        return later

    def _has_weights(self, node: fx.Node) -> bool:
        if node.op != "call_module" or node_kind(node, self.root) != "linear":
            return False
        module = self.root.get_submodule(str(node.target))
        return isinstance(module, _BatchNorm) or any(True for _ in module.parameters())

    def _no_rule(
        self, node: fx.Node, why: str = "no rule tells how relevance passes through it"
    ) -> ConfigError:
        return ConfigError(
            f"LRP stops at {describe(node, self.root)}: {why}. Use method='integrated_gradients' or "
            "'gradient_x_input'; a module of your own can tell by a class attribute, such as relevance = 'linear'."
        )


class _Affine(nn.Module):
    """A batch normalisation in evaluation mode as what it is: one factor and one shift
    a channel.
    """

    def __init__(self, norm: _BatchNorm, rank: int) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        factor = (norm.running_var + norm.eps).rsqrt() * (
            1.0 if norm.weight is None else norm.weight
        )
        shift = (0.0 if norm.bias is None else norm.bias) - norm.running_mean * factor
        shape = (-1, *[1] * (rank - 2))
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
