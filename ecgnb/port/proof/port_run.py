"""Run a port on a reference's inputs and keep every intermediate tensor."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError, PortError
from ecgnb.port.build import before_activation, output_nodes
from ecgnb.port.network import CHANNELS_FIRST
from ecgnb.port.ported import PortedModel
from ecgnb.port.proof.reference import Reference
from ecgnb.port.reading.calls import map_nested

#: What PyTorch raises for tensors whose shapes do not fit.
SHAPE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError)


@dataclass(frozen=True)
class PortRun:
    """Everything that a port computes from a reference's inputs.

    Attributes:
        module: the copy of the port that was run.
        values: output of every node of the port's graph.
        gradients: by the reference's name of the input, in Keras' layout; see
            `Reference.gradients`.
        error: message of the error that stopped the run, else empty; after an error
            ``values`` is incomplete and ``gradients`` empty.
    """

    module: nn.Module
    values: dict[fx.Node, Any]
    gradients: dict[str, np.ndarray]
    error: str = ""


def run_port(port: PortedModel, reference: Reference, *, float64: bool) -> PortRun:
    """Run a copy of a port on the reference's inputs; the port itself is not changed.

    Args:
        port: model to run.
        reference: holds the inputs and the definition of the gradient.
        float64: run in float64 and evaluation mode; else in float32 and in the mode
            that the port is in.

    Raises:
        PortError: the reference's inputs are not those of the model.
    """
    module = copy.deepcopy(port)  # also its training mode
    if float64:
        module = module.double().eval()
    inputs = _inputs(port, reference, torch.float64 if float64 else torch.float32)
    # garbage_collect_values=False: every intermediate tensor is kept.
    interpreter = fx.Interpreter(module, garbage_collect_values=False, graph=port.graph)
    gradients: dict[str, np.ndarray] = {}
    # Noise layers draw random numbers; the caller's generator must not advance.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        error = _interpret(interpreter, list(inputs.values()))
        if not error:
            target = _gradient_target(port, reference, interpreter.env)
            for name, gradient in _gradients(target, inputs).items():
                gradients[name] = _swap_layout(port, gradient).cpu().numpy()
    values = map_nested(interpreter.env, _detached)
    return PortRun(module, values, gradients, error)


def _interpret(interpreter: fx.Interpreter, inputs: list[Tensor]) -> str:
    """Run a graph; return the first line of the error that stopped it, else ""."""
    try:
        interpreter.run(*inputs, enable_io_processing=False)
    except torch.OutOfMemoryError:  # a RuntimeError, but no fault of the port
        raise
    except SHAPE_ERRORS as error:
        return str(error).split("\n")[0]  # below it, fx shows the graph
    return ""


def nodes_by_label(port: PortedModel) -> dict[str, fx.Node]:
    """Return the node that makes each Keras layer's output, in call order."""
    nodes = {}
    for node in port.graph.nodes:
        if "keras" in node.meta:  # not of transposes between two layers
            nodes[node.meta["keras"]] = node
    return nodes


def in_keras_layout(node: fx.Node, value: Tensor) -> Tensor:
    """Return a node's output with time before channels."""
    # A faulty layer may return fewer axes than the graph declares.
    if node.meta.get("layout") == CHANNELS_FIRST and value.ndim > 2:
        return value.transpose(1, 2)  # [B, C, T] -> [B, T, C]
    return value


def keras_array(node: fx.Node, value: Tensor) -> np.ndarray:
    """Return a node's output as an array with time before channels."""
    return in_keras_layout(node, value).cpu().numpy()


def _inputs(
    port: PortedModel, reference: Reference, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the reference's inputs in the port's order and layout, on its device.

    Integers stay integers; floating inputs require gradients.
    """
    device = next((weight.device for weight in port.parameters()), None)
    inputs = {}
    for name, array in _arrays_in_port_order(port, reference).items():
        # A copy, since the reference must not change with the tensor.
        x = torch.tensor(array, device=device)
        x = _swap_layout(port, x)
        if x.is_floating_point():
            x = x.to(dtype).requires_grad_()
        inputs[name] = x
    try:
        port.check_inputs(tuple(inputs.values()))
    except ConfigError as error:
        raise PortError(
            f"The reference ({reference.source}) is of another model: {error}"
        ) from error
    return inputs


def _arrays_in_port_order(
    port: PortedModel, reference: Reference
) -> dict[str, np.ndarray]:
    """Match inputs by name; a single input matches whatever its name."""
    names, arrays = list(port.origin.inputs), reference.inputs
    if set(names) == set(arrays):
        return {name: arrays[name] for name in names}
    if len(names) == len(arrays) == 1:
        return arrays
    raise PortError(
        f"The reference ({reference.source}) has the inputs {', '.join(arrays)}, the "
        f"model {', '.join(names)}. It is of another model, or its inputs must be "
        "renamed."
    )


def _swap_layout(port: PortedModel, tensor: Tensor) -> Tensor:
    """Convert between Keras' layout and that of the port's inputs."""
    if port.origin.input_layout == "NCT" and tensor.ndim == 3:
        return tensor.transpose(1, 2)
    return tensor


def _gradient_target(
    port: PortedModel, reference: Reference, values: dict[fx.Node, Any]
) -> Tensor:
    """Return the tensor whose channel 0 is differentiated (see `Reference.about`)."""
    output = output_nodes(port.graph)[0]
    logits, activation = before_activation(output, port)
    separate_layer = output.meta.get("class_name") in ("Softmax", "Activation")
    before_sigmoid = activation == "sigmoid" and reference.before_sigmoid
    if separate_layer and (activation == "softmax" or before_sigmoid):
        output = logits
    return in_keras_layout(output, values[output])


def _gradients(target: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Differentiate channel 0, summed over the batch, by each floating input."""
    floating = {name: x for name, x in inputs.items() if x.requires_grad}
    tensors = list(floating.values())
    gradients = tuple(map(torch.zeros_like, tensors))
    if tensors and target.requires_grad:
        gradients = torch.autograd.grad(
            target[..., 0].sum(), tensors, allow_unused=True, materialize_grads=True
        )
    return dict(zip(floating, gradients, strict=True))


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
