"""One run of a port with every intermediate tensor kept: in its own precision, and as a
float64 copy, the referee.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError, PortError
from ecgnb.port.build import before_activation
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.reference import Reference

#: What PyTorch raises for tensors that do not fit.
UNFIT = (RuntimeError, ValueError, IndexError, TypeError)


@dataclass(frozen=True)
class Record:
    """What a port made of inputs.

    Attributes:
        module: the copy of the port that was run.
        values: of every node of the port's graph.
        gradients: by the reference's name of the input, in Keras' layout; see
            `Reference.gradients`.
        error: what stopped the run, if it did; then ``values`` end there and there are
            no gradients.
    """

    module: nn.Module
    values: dict[fx.Node, Any]
    gradients: dict[str, np.ndarray]
    error: str = ""


def record(port: PortedModel, reference: Reference, *, referee: bool = False) -> Record:
    """Run a copy of a port on the reference's inputs; the port itself is not touched.

    Args:
        port: what to run.
        reference: for its inputs and its definition of the gradient.
        referee: in float64 and for inference, whatever state the port is in; else just
            as it is.

    Raises:
        PortError: the reference's inputs are not those of the model.
    """
    module = copy.deepcopy(port)
    if referee:
        module = module.double().eval()
    given = _matched(port, reference)
    inputs = [_tensor(port, values, referee) for values in given.values()]
    try:
        port.check_inputs(
            tuple(_tensor(port, values, False) for values in given.values())
        )  # the port is in float32
    except ConfigError as error:
        raise PortError(
            f"The reference ({reference.source}) is of another model: {error}"
        ) from error
    watched = [
        tensor.requires_grad_() for tensor in inputs if tensor.is_floating_point()
    ]
    interpreter = fx.Interpreter(module, garbage_collect_values=False, graph=port.graph)
    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
    ):  # noise layers must not move the user's numbers
        stopped = _stopped(interpreter, inputs)
        gradients = (
            []
            if stopped
            else _gradients(_target(port, reference, interpreter.env), watched)
        )
    names = [
        name
        for name, tensor in zip(given, inputs, strict=True)
        if tensor.is_floating_point()
    ]
    values = {node: _detached(value) for node, value in interpreter.env.items()}
    in_keras = [_turned(port, gradient).cpu().numpy() for gradient in gradients]
    return Record(
        module, values, dict(zip(names, in_keras, strict=not stopped)), stopped
    )


def _stopped(interpreter: fx.Interpreter, inputs: list[Tensor]) -> str:
    """Run a graph; return what stopped it, such as a layer that does not take what the
    one before gives.
    """
    try:
        interpreter.run(*inputs, enable_io_processing=False)
    except UNFIT as error:
        if isinstance(error, torch.OutOfMemoryError):  # says nothing of the port
            raise
        return str(error).split("\n")[0]
    return ""


def labelled(port: PortedModel) -> dict[str, fx.Node]:
    """Return the node that makes each Keras layer's output, in call order."""
    return {
        node.meta["keras"]: node for node in port.graph.nodes if "keras" in node.meta
    }


def outputs_of(port: PortedModel) -> list[fx.Node]:
    """Return the nodes that make the model's outputs."""
    last = next(node for node in port.graph.nodes if node.op == "output")
    return list(last.args[0]) if isinstance(last.args[0], tuple) else [last.args[0]]


def logits_of(port: PortedModel, node: fx.Node) -> tuple[fx.Node, str]:
    """Return the node that a last softmax or sigmoid takes, and that activation's name;
    see `before_activation`.
    """
    return before_activation(node, dict(port.named_modules()))


def in_keras_layout(node: fx.Node, value: Tensor) -> Tensor:
    """Return a node's tensor with time before channels."""
    # A faulty layer may give fewer axes than the graph says.
    return (
        value.transpose(1, 2)
        if node.meta.get("layout") == CHANNELS_FIRST and value.ndim > 2
        else value
    )


def _matched(port: PortedModel, reference: Reference) -> dict[str, np.ndarray]:
    """Return the reference's inputs in the port's order: by name, or by place where the
    names are others.
    """
    names, given = list(port.origin.inputs), reference.inputs
    if set(names) == set(given):
        return {name: given[name] for name in names}
    if len(names) == len(given) == 1:
        return given
    raise PortError(
        f"The reference ({reference.source}) has the inputs {', '.join(given)}, the model {', '.join(names)}. "
        "It is of another model, or its inputs must be renamed."
    )


def _tensor(port: PortedModel, values: np.ndarray, referee: bool) -> Tensor:
    tensor = _turned(port, torch.from_numpy(np.array(values)))
    parameter = next(port.parameters(), None)
    if parameter is not None:
        tensor = tensor.to(parameter.device)
    return (
        tensor.to(torch.float64 if referee else torch.float32)
        if tensor.is_floating_point()
        else tensor
    )


def _turned(port: PortedModel, tensor: Tensor) -> Tensor:
    """Turn a tensor between Keras' layout and that of the port's inputs."""
    return (
        tensor.transpose(1, 2)
        if port.origin.input_layout == "NCT" and tensor.ndim == 3
        else tensor
    )


def _target(
    port: PortedModel, reference: Reference, values: dict[fx.Node, Any]
) -> Tensor:
    """Return the tensor whose channel 0 is differentiated; `Reference` tells which."""
    first = outputs_of(port)[0]
    before, activation = logits_of(port, first)
    own_layer = first.meta.get("class_name") in ("Softmax", "Activation")
    if own_layer and (
        activation == "softmax"
        or (activation == "sigmoid" and reference.before_sigmoid)
    ):
        return in_keras_layout(before, values[before])
    return in_keras_layout(first, values[first])


def _gradients(target: Tensor, watched: list[Tensor]) -> list[Tensor]:
    if not watched or not target.requires_grad:
        return [torch.zeros_like(tensor) for tensor in watched]
    found = torch.autograd.grad(target[..., 0].sum(), watched, allow_unused=True)
    return [
        torch.zeros_like(x) if g is None else g
        for x, g in zip(watched, found, strict=True)
    ]


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    return type(value)(map(_detached, value)) if type(value) in (list, tuple) else value
