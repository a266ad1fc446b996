"""Run a port on a reference's inputs and keep every intermediate tensor."""

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
    module = copy.deepcopy(port)
    if float64:
        module = module.double().eval()
    arrays = _arrays_in_port_order(port, reference)
    _check_inputs(port, reference, arrays)
    dtype = torch.float64 if float64 else torch.float32
    inputs = {name: _to_tensor(port, array, dtype) for name, array in arrays.items()}
    floating = {name: x for name, x in inputs.items() if x.is_floating_point()}
    for tensor in floating.values():
        tensor.requires_grad_()
    interpreter = fx.Interpreter(module, garbage_collect_values=False, graph=port.graph)
    gradients: list[Tensor] = []
    # Noise layers draw random numbers; the caller's generator must not advance.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        error = _interpret(interpreter, list(inputs.values()))
        if not error:
            target = _gradient_target(port, reference, interpreter.env)
            gradients = _gradients(target, list(floating.values()))
    return PortRun(
        module,
        values={node: _detached(value) for node, value in interpreter.env.items()},
        gradients={
            name: _swap_layout(port, gradient).cpu().numpy()
            for name, gradient in zip(floating, gradients, strict=False)
        },
        error=error,
    )


def _interpret(interpreter: fx.Interpreter, inputs: list[Tensor]) -> str:
    """Run a graph; return the first line of the error that stopped it, else ""."""
    try:
        interpreter.run(*inputs, enable_io_processing=False)
    except torch.OutOfMemoryError:  # a RuntimeError, but not of the port's making
        raise
    except SHAPE_ERRORS as error:
        return str(error).split("\n")[0]
    return ""


def nodes_by_label(port: PortedModel) -> dict[str, fx.Node]:
    """Return the node that makes each Keras layer's output, in call order."""
    return {
        node.meta["keras"]: node for node in port.graph.nodes if "keras" in node.meta
    }


def output_nodes(port: PortedModel) -> list[fx.Node]:
    """Return the nodes that make the model's outputs."""
    last = next(node for node in port.graph.nodes if node.op == "output")
    outputs = last.args[0]
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def logits_node(port: PortedModel, node: fx.Node) -> tuple[fx.Node, str]:
    """Return the input of a last softmax or sigmoid and the activation's name; see
    `before_activation`.
    """
    return before_activation(node, dict(port.named_modules()))


def in_keras_layout(node: fx.Node, value: Tensor) -> Tensor:
    """Return a node's output with time before channels."""
    # A faulty layer may return fewer axes than the graph declares.
    if node.meta.get("layout") == CHANNELS_FIRST and value.ndim > 2:
        return value.transpose(1, 2)
    return value


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


def _check_inputs(
    port: PortedModel, reference: Reference, arrays: dict[str, np.ndarray]
) -> None:
    tensors = [_to_tensor(port, array, torch.float32) for array in arrays.values()]
    try:
        port.check_inputs(tuple(tensors))
    except ConfigError as error:
        raise PortError(
            f"The reference ({reference.source}) is of another model: {error}"
        ) from error


def _to_tensor(port: PortedModel, array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Return an input in the port's layout, on its device; integers stay integers."""
    tensor = _swap_layout(port, torch.from_numpy(np.array(array)))
    parameter = next(port.parameters(), None)
    if parameter is not None:
        tensor = tensor.to(parameter.device)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _swap_layout(port: PortedModel, tensor: Tensor) -> Tensor:
    """Convert between Keras' layout and that of the port's inputs."""
    if port.origin.input_layout == "NCT" and tensor.ndim == 3:
        return tensor.transpose(1, 2)
    return tensor


def _gradient_target(
    port: PortedModel, reference: Reference, values: dict[fx.Node, Any]
) -> Tensor:
    """Return the tensor whose channel 0 is differentiated (see `Reference.about`)."""
    output = output_nodes(port)[0]
    logits, activation = logits_node(port, output)
    separate_layer = output.meta.get("class_name") in ("Softmax", "Activation")
    before_sigmoid = activation == "sigmoid" and reference.before_sigmoid
    if separate_layer and (activation == "softmax" or before_sigmoid):
        output = logits
    return in_keras_layout(output, values[output])


def _gradients(target: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    if not inputs or not target.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    total = target[..., 0].sum()
    return list(
        torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    )


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (list, tuple):
        return type(value)(map(_detached, value))
    return value
