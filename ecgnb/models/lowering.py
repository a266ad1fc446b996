"""Lower the precision of a model for inference: bfloat16, float16, 8-bit integers.

The parts most sensitive to precision stay in float32: the stem, whose rounding of the
signal affects all later layers, normalisations, positions, and the head. For ECG-FM a
float32 stem divides the change of the logits in bfloat16 by five, for half a per cent
of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean
from ecgnb.models.base import Backbone
from ecgnb.models.int8 import Int8Linear

PRECISIONS: tuple[str, ...] = ("float32", "bfloat16", "float16", "int8")

#: Children of a model that stay in float32.
_FLOAT32_PARTS = ("stem", "head", "pretraining")
_MIN_WIDTH = 64  # a narrower linear layer gains nothing from 8 bits

ModelT = TypeVar("ModelT", bound=Backbone)


def to_precision(model: ModelT, precision: str) -> ModelT:
    """Lower the precision of a model in place, as `torch.nn.Module.to` does; return it.

    Inputs, features, embeddings and logits stay float32, and gradients for explanations
    work; it is not for training. "bfloat16" and "float16" apply to convolutions and
    linear layers, for GPUs; few CPUs compute with them, others are slower. "int8"
    applies to linear layers of 64 inputs and outputs or more, for CPUs. Shapes and
    dtypes of the result do not depend on the weights, so that
    ``to_precision(build_model(**spec), precision)`` can load its state dict.

    Args:
        model: in float32, and in evaluation mode from now on.
        precision: one of `PRECISIONS`; "float32" changes nothing.

    Raises:
        ConfigError: there is no such precision, the model is not in float32, has no
            layer to lower, or is on a GPU (int8).
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"There is no precision {precision!r}; give one of {', '.join(PRECISIONS)}."
            f"{did_you_mean(precision, PRECISIONS)}"
        )
    current = precision_of(model)
    if precision == current:
        return model
    if current != "float32":
        raise ConfigError(
            f"The model is in {current} and cannot be converted to {precision}: digits "
            "are lost. Load it again."
        )
    if precision == "int8":
        _to_int8(model)
    else:
        _to_half(model, precision)
    return model.eval()


def precision_of(model: Backbone) -> str:
    """Return the entry of `PRECISIONS` of a model's encoder.

    A model in float64 counts as float32.
    """
    layers = _layers(model, nn.Linear | nn.Conv1d | Int8Linear)
    dtypes = {layer.weight.dtype for _, layer in layers}
    for name in ("int8", "float16", "bfloat16"):
        if getattr(torch, name) in dtypes:
            return name
    return "float32"


def n_bytes(model: nn.Module) -> int:
    """Return the size of a model's weights in bytes."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def _layers(model: Backbone, kinds: Any) -> Iterator[tuple[str, Any]]:
    """Yield the encoder's layers of these kinds by name."""
    for name, module in model.named_modules():
        # the first part of the name is the child of the model
        if name.split(".")[0] not in _FLOAT32_PARTS and isinstance(module, kinds):
            yield name, module


def _to_int8(model: Backbone) -> None:
    layers = {}
    for name, layer in _layers(model, nn.Linear):
        if min(layer.weight.shape) >= _MIN_WIDTH:
            layers[name] = layer
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no linear layer of {_MIN_WIDTH} inputs and "
            "outputs or more in its encoder; int8 is for these, as transformers have "
            "them. Take 'bfloat16' or 'float16', or stay with 'float32'."
        )
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise ConfigError(
            f"The model is on {device}; int8 is for CPUs. Take 'bfloat16' or 'float16' "
            "there, or move it to the CPU first: model.cpu()."
        )
    # Convert all before replacing the first: a NaN leaves the model unchanged.
    converted = {name: Int8Linear.of(layer) for name, layer in layers.items()}
    for name, layer in converted.items():
        model.set_submodule(name, layer)  # under the same name


def _to_half(model: Backbone, precision: str) -> None:
    layers = [layer for _, layer in _layers(model, nn.Linear | nn.Conv1d)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no convolution or linear layer in its encoder "
            f"for {precision}. Stay with 'float32'."
        )
    for layer in layers:
        layer.to(getattr(torch, precision))
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            # float32 layers take float32
            module.register_forward_pre_hook(_cast_inputs)
    for part in model.children():
        part.register_forward_hook(_cast_output)  # features and logits stay float32


def _cast_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Cast the inputs of a layer to the dtype of its weights."""
    return _cast(inputs, next(module.parameters(recurse=False)).dtype)


def _cast_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Cast the output of a part of the model to float32."""
    return _cast(output, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(item, dtype) for item in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(dtype)
    return value
