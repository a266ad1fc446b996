"""A model in lower precision, for inference: bfloat16, float16, or linear layers of
8-bit integers.

What a number's precision matters most for stays in float32: the stem, whose rounding of
the signal every later layer inherits, normalisations, positions, and the head. On
ECG-FM's architecture a float32 stem divides the change of the logits in bfloat16 by
five, for half a per cent of the weights.
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

#: Parts of a model that stay in float32.
_PRECISE = ("stem", "head", "pretraining")
#: A linear layer with fewer inputs or outputs gains nothing from 8 bits.
_NARROWEST = 64

ModelT = TypeVar("ModelT", bound=Backbone)


def to_precision(model: ModelT, precision: str) -> ModelT:
    """Bring a model to a lower precision, in place as `torch.nn.Module.to` does, and
    return it.

    It takes and gives float32 as before, from its words and state dict to features and
    embeddings, and it can be explained by gradients; it is not for training. "bfloat16"
    and "float16" are for its convolutions and linear layers and for graphics
    processors; few CPUs compute with them, others take longer. "int8" is for linear
    layers of 64 inputs and outputs or more, and for CPUs. The shapes and types of the
    result do not depend on the weights, so that ``to_precision(build_model(**spec),
    precision)`` takes the state dict of another.

    Args:
        model: in float32, and in evaluation mode from now on.
        precision: one of `PRECISIONS`; "float32" changes nothing.

    Raises:
        ConfigError: there is no such precision, the model is not in float32, has no
            layer to lower, or lies where int8 is of no use.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"There is no precision {precision!r}; give one of {', '.join(PRECISIONS)}."
            f"{did_you_mean(precision, PRECISIONS)}"
        )
    now = precision_of(model)
    if precision == now:
        return model
    if now != "float32":
        raise ConfigError(
            f"The model is in {now} and cannot come to {precision}: digits are gone. Load it again."
        )
    lower = _to_int8 if precision == "int8" else _to_half
    lower(model, precision)
    return model.eval()


def precision_of(model: Backbone) -> str:
    """Return which of `PRECISIONS` a model's encoder is in; a model in float64 counts
    as float32.
    """
    types = {
        layer.weight.dtype
        for _, layer in _layers(model, nn.Linear | nn.Conv1d | Int8Linear)
    }
    lower = [name for name in PRECISIONS[1:] if getattr(torch, name) in types]
    return lower[-1] if lower else "float32"


def n_bytes(model: nn.Module) -> int:
    """Return the bytes that a model's weights take, in a file and in memory."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def _layers(model: Backbone, kinds: Any) -> Iterator[tuple[str, Any]]:
    """Yield the encoder's layers of these kinds by name."""
    for name, module in model.named_modules():
        if name.split(".")[0] not in _PRECISE and isinstance(module, kinds):
            yield name, module


def _to_int8(model: Backbone, precision: str) -> None:
    wide = [
        (name, layer)
        for name, layer in _layers(model, nn.Linear)
        if min(layer.in_features, layer.out_features) >= _NARROWEST
    ]
    if not wide:
        raise ConfigError(
            f"{type(model).__name__} has no linear layer of {_NARROWEST} inputs and outputs or more in its encoder; "
            "int8 is for these, as transformers have them. Take 'bfloat16' or 'float16', or stay with 'float32'."
        )
    device = wide[0][1].weight.device
    if device.type != "cpu":
        raise ConfigError(
            f"The model lies on {device}; int8 is for CPUs. Take 'bfloat16' or 'float16' there, or bring it to the CPU "
            "first: model.cpu()."
        )
    made = {
        name: Int8Linear.of(layer) for name, layer in wide
    }  # all of them before the first is put in its place
    for name, layer in made.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer)


def _to_half(model: Backbone, precision: str) -> None:
    layers = [layer for _, layer in _layers(model, nn.Linear | nn.Conv1d)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no convolution or linear layer in its encoder that {precision} could serve. "
            "Stay with 'float32'."
        )
    for layer in layers:
        layer.to(getattr(torch, precision))
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(_to_own_type)
    for part in model.children():
        part.register_forward_hook(_to_float32)


def _to_own_type(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Bring what a layer is given to the type of its weights."""
    return _cast(given, next(module.parameters(recurse=False)).dtype)


def _to_float32(module: nn.Module, given: Any, made: Any) -> Any:
    """Bring what a part of the model has made back to what other parts and users
    expect.
    """
    return _cast(made, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(each, dtype) for each in value)
    return (
        value.to(dtype)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
    )
