"""Small networks with weights from formulas, so that numbers can be worked out
elsewhere."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from ecgnb.explain.rules import divide

#: One cheap call of every registered method; a method without one fails the conformance
#: tests.
OPTIONS: dict[str, dict] = {
    "gradient": {},
    "gradient_x_input": {},
    "gradient_x_sign": {"mu": 0.1},
    "guided_backprop": {},
    "integrated_gradients": {"steps": 3, "baseline": 0.1},
    "smoothgrad": {"samples": 3},
    "vargrad": {"samples": 3, "noise": 0.2},
    "grad_cam": {},
    "lrp_z": {},
    "lrp_epsilon": {"epsilon": 0.1},
    "lrp_epsilon_std": {"factor": 0.25},
    "lrp_alpha_1_beta_0": {},
    "lrp_alpha_2_beta_1": {},
    "lrp_sign_epsilon_std": {},
}


def waves(*shape: int, pace: float) -> Tensor:
    """sin(pace), sin(2 pace), ... in float64."""
    return torch.sin(
        pace * torch.arange(1, 1 + math.prod(shape), dtype=torch.float64)
    ).reshape(shape)


def filled(model: nn.Module) -> nn.Module:
    """Give every parameter its waves, and normalisations statistics that matter."""
    model = model.double().eval()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(waves(*parameter.shape, pace=1.3 + k))
        for k, module in enumerate(
            m for m in model.modules() if isinstance(m, nn.BatchNorm1d)
        ):
            module.running_mean.copy_(waves(len(module.running_mean), pace=0.4 + k))
            module.running_var.copy_(1.5 + waves(len(module.running_var), pace=0.9 + k))
    return model


def cnn() -> nn.Module:
    """Two convolutions for signals [B, 2, 16]; two classes."""
    return filled(
        nn.Sequential(
            *(nn.Conv1d(2, 3, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
            *(
                nn.Conv1d(3, 4, 3),
                nn.ReLU(),
                nn.AvgPool1d(2),
                nn.Flatten(),
                nn.Linear(12, 2),
            ),
        )
    )


def signals() -> Tensor:
    return waves(2, 2, 16, pace=0.7)


def without_biases(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return model


class Pad(nn.Module):
    """One sample on the right, as uneven "same" padding needs."""

    relevance = "rearrange"

    def forward(self, x: Tensor) -> Tensor:
        return (
            nn.functional.pad(x, (0, 1)) if x.ndim == 3 else x
        )  # a condition that tracing cannot follow


@dataclass(frozen=True)
class Flat:
    """LRP-flat (Lapuschkin et al. 2017), a rule from outside: every input that reaches
    an output gets the same share of it."""

    def __call__(self, layer, inputs, relevance):
        weights = layer.changed(torch.ones_like, torch.zeros_like)
        z, backward = layer.linearise([torch.ones_like(x) for x in inputs], weights)
        return backward(divide(relevance, z))


class Sum(nn.Module):
    relevance = "linear"

    def forward(self, *parts: Tensor) -> Tensor:
        return parts[0] + parts[1]


class Gate(nn.Module):
    relevance = "product"

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


class Port(fx.GraphModule):
    """A classifier as a port makes it: Keras layout outside, [B, C, T] inside, named
    modules, a softmax at the end."""

    @property
    def logits(self) -> fx.GraphModule:
        graph = copy.deepcopy(self.graph)
        *_, softmax, output = graph.nodes
        output.args = (softmax.all_input_nodes[0],)
        graph.erase_node(softmax)
        return fx.GraphModule(self, graph, "Logits")


PARTS = {
    "pad": Pad,
    "conv1d": lambda: nn.Conv1d(3, 4, 2),
    "batch_normalization": lambda: nn.BatchNorm1d(4),
    "activation": lambda: nn.ELU(),
    "max_pooling1d": lambda: nn.MaxPool1d(2),
    "conv1d_1": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "add": Sum,
    "batch_normalization_1": lambda: nn.BatchNorm1d(4),
    "activation_1": lambda: nn.ReLU(),
    "gate_dense": lambda: nn.Linear(4, 4),
    "gate_sigmoid": lambda: nn.Sigmoid(),
    "multiply": Gate,
    "max_pooling1d_1": lambda: nn.MaxPool1d(3),
    "dropout": lambda: nn.Dropout(0.5),
    "flatten": lambda: nn.Flatten(),
    "dense": lambda: nn.Linear(12, 3),
    "softmax": lambda: nn.Softmax(dim=-1),
}


def port(two_inputs: bool = False) -> Port:
    """A graph of `PARTS` for signals [B, 20, 3], and with two inputs a vector [B, 1]
    besides."""
    root = nn.Module()
    for name in PARTS:
        root.add_module(name, PARTS[name]())
    graph = fx.Graph()
    call = graph.call_module
    ecg = graph.placeholder("ecg")
    age = graph.placeholder("age") if two_inputs else None
    turned = graph.call_method("transpose", (ecg, 1, 2))
    first = call("batch_normalization", (call("conv1d", (call("pad", (turned,)),)),))
    pooled = call("max_pooling1d", (call("activation", (first,)),))
    summed = call("add", (call("conv1d_1", (pooled,)), pooled))
    features = call("activation_1", (call("batch_normalization_1", (summed,)),))
    gate = call(
        "gate_sigmoid",
        (call("gate_dense", (graph.call_method("mean", (features, -1)),)),),
    )
    gated = call("multiply", (features, graph.call_method("unsqueeze", (gate, -1))))
    gated.meta["layout"] = "nct"
    end = graph.call_method(
        "transpose", (call("dropout", (call("max_pooling1d_1", (gated,)),)), 1, 2)
    )
    end.meta["layout"] = "keras"
    flat = call("flatten", (end,))
    if age is not None:
        root.add_module("dense", nn.Linear(13, 3))
        flat = graph.call_function(torch.cat, ([flat, age],), {"dim": 1})
    graph.output(call("softmax", (call("dense", (flat,)),)))
    return filled(Port(root, graph, "Port"))


def port_inputs(two_inputs: bool = False, n: int = 4) -> Tensor | tuple[Tensor, Tensor]:
    ecg = waves(n, 20, 3, pace=0.37)
    return (ecg, waves(n, 1, pace=2.1)) if two_inputs else ecg
