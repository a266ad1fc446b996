"""Rules of layer-wise relevance propagation for linear layers.

All follow one scheme (Montavon et al. 2019, "Layer-wise relevance propagation: an
overview"): for a layer z = f(x), with inputs and weights changed by the rule, the
relevance R of the outputs goes to the inputs as x * f'(x)^T (R / z), where the
denominator is stabilised.

A layer's bias keeps its contribution: z and epsilon rules divide by a z that contains
it, and the alpha-beta rule counts a positive bias among the positive contributions and
a negative one among the negative ones. So relevance is conserved from layer to layer
only without biases. Where z is 0, its relevance is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.explain.gradients import sign

Tensors: TypeAlias = Sequence[Tensor]
Weights: TypeAlias = Mapping[str, Tensor]
#: From a weight or bias to the one that a rule uses in its place.
Change: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """A linear layer that can be run with other inputs and weights.

    Attributes:
        name: for messages.
        run: from inputs and weights (empty: those of the layer) to the output.
        weights: its parameters by name; empty for averages, sums and the like.
    """

    name: str
    run: Callable[[Tensors, Weights], Tensor]
    weights: Weights

    def linearise(
        self, inputs: Tensors, weights: Weights
    ) -> tuple[Tensor, Callable[[Tensor], Tensors]]:
        """Return the layer's output and its vector-Jacobian product, a function from
        numbers of the output's shape to numbers of the inputs' shapes.
        """
        leaves = [x.detach().requires_grad_() for x in inputs]
        z = self.run(leaves, weights)  # output of the layer
        return z.detach(), lambda s: torch.autograd.grad(z, leaves, s)

    def changed(self, change: Change, change_bias: Change) -> Weights:
        """Return its weights after a change.

        Raises:
            ConfigError: the layer has several weights, so its effective one is not
                known.
        """
        changed = {}
        n_weights = 0
        for name, weight in self.weights.items():
            if name.split(".")[-1].startswith("bias"):
                changed[name] = change_bias(weight.detach())
            else:
                n_weights += 1  # all but biases
                changed[name] = change(weight.detach())
        if n_weights > 1:
            raise ConfigError(
                f"{self.name} has several weights ({', '.join(self.weights)}); rules "
                "that change weights need layers of one. Use an epsilon rule."
            )
        return changed


class Rule(Protocol):
    """Distributes the relevance of a linear layer's output among its inputs."""

    def __call__(self, layer: Layer, inputs: Tensors, relevance: Tensor) -> Tensors:
        """Return the relevance of each input."""


def divide(relevance: Tensor, z: Tensor) -> Tensor:
    """Return ``relevance / z``, 0 where z is 0."""
    divisor = torch.where(z == 0, 1.0, z)
    return torch.where(z == 0, 0.0, relevance / divisor)


@dataclass(frozen=True)
class Epsilon:
    """LRP-epsilon (Bach et al. 2015, equation 58); LRP-z, also called LRP-0, with an
    epsilon of 0.

    Attributes:
        epsilon: added to z with the sign of z; absolute, in units of the layer's
            output.
    """

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise ConfigError(
                f"epsilon is {self.epsilon!r}; give a number of at least 0."
            )

    def factors(self, layer: Layer, inputs: Tensors, relevance: Tensor) -> Tensors:
        """Return what each input is multiplied with."""
        z, backward = layer.linearise(inputs, {})
        epsilon = self._epsilon_of(inputs, z.ndim)
        return backward(divide(relevance, z + epsilon * sign(z)))

    def __call__(self, layer: Layer, inputs: Tensors, relevance: Tensor) -> Tensors:
        """Return the inputs times their factors."""
        return list(map(torch.mul, inputs, self.factors(layer, inputs, relevance)))

    def _epsilon_of(self, inputs: Tensors, rank: int) -> float | Tensor:
        return self.epsilon


@dataclass(frozen=True)
class EpsilonStd(Epsilon):
    """LRP-epsilon with ``epsilon`` times the standard deviation of the layer's input,
    separately for each record.

    The factor 0.5 is ``lrp_epsilon_0_5_std_x`` of signxai. The standard deviation is
    that of all values that enter the layer (division by their number), including
    padding that is a separate node of the graph.
    """

    epsilon: float = 0.5

    def _epsilon_of(self, inputs: Tensors, rank: int) -> Tensor:
        values = torch.cat([x.flatten(1) for x in inputs], dim=1)  # [B, n_values]
        epsilon = self.epsilon * values.std(1, correction=0)
        return epsilon.view(-1, *[1] * (rank - 1))  # [B, 1, ...]


@dataclass(frozen=True)
class AlphaBeta:
    """LRP-alpha-beta (Bach et al. 2015, equation 60): positive and negative
    contributions are distributed separately.

    Attributes:
        alpha: share of the positive contributions.
        beta: share of the negative ones; ``alpha - beta`` is 1.
    """

    alpha: float = 1.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        is_conserving = abs(self.alpha - self.beta - 1) < 1e-9
        if not (self.beta >= 0 and is_conserving):
            raise ConfigError(
                f"alpha={self.alpha!r}, beta={self.beta!r}: beta must be at least 0, "
                "and alpha - beta must be 1."
            )

    def __call__(self, layer: Layer, inputs: Tensors, relevance: Tensor) -> Tensors:
        """Return alpha times the shares by positive contributions, less beta times
        those by negative ones.
        """
        # Products of two negative numbers are positive contributions.
        shares = _shares(layer, inputs, relevance, _plus, _minus)
        shares = [self.alpha * share for share in shares]
        if self.beta == 0:  # spares two runs of the layer
            return shares
        negative_shares = _shares(layer, inputs, relevance, _minus, _plus)
        pairs = zip(shares, negative_shares, strict=True)
        return [share - self.beta * negative for share, negative in pairs]


@dataclass(frozen=True)
class Sign:
    """The SIGN rule for a model's first layer (Gumpfer et al. 2023): an epsilon rule
    with the `sign` of the input instead of the input.

    Only the factor in front is replaced; z is that of the input itself. An input of 0
    counts as +1.

    Attributes:
        rule: computes the other factor.
    """

    rule: Epsilon

    def __call__(self, layer: Layer, inputs: Tensors, relevance: Tensor) -> Tensors:
        """Return the signs of the inputs times their factors."""
        factors = self.rule.factors(layer, inputs, relevance)
        return list(map(torch.mul, map(sign, inputs), factors))


def _shares(
    layer: Layer,
    inputs: Tensors,
    relevance: Tensor,
    for_plus: Change,
    for_minus: Change,
) -> Tensors:
    """Distribute relevance by the contributions of one sign: positive inputs with the
    weights ``for_plus`` plus negative inputs with the weights ``for_minus``.
    """
    plus = list(map(_plus, inputs))
    minus = list(map(_minus, inputs))
    # The bias counts once, in the first run.
    plus_weights = layer.changed(for_plus, for_plus)
    minus_weights = layer.changed(for_minus, torch.zeros_like)
    z_plus, backward_plus = layer.linearise(plus, plus_weights)
    z_minus, backward_minus = layer.linearise(minus, minus_weights)
    ratio = divide(relevance, z_plus + z_minus)
    plus_shares = map(torch.mul, plus, backward_plus(ratio))
    minus_shares = map(torch.mul, minus, backward_minus(ratio))
    return list(map(torch.add, plus_shares, minus_shares))


def _plus(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def _minus(x: Tensor) -> Tensor:
    return x.clamp(max=0)
