"""What is known of a Keras layer class: its weights, its options, how PyTorch says the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ecgnb.core.errors import PortError
from ecgnb.core.registry import Registry
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.graph import Layer
from ecgnb.port.reading.keras_weights import Variable

LAYERS: Registry[type[LayerRule]] = Registry("Keras layer")

#: Options of any layer that change nothing about what a trained model computes.
WITHOUT_EFFECT = frozenset(
    [
        "name",
        "trainable",
        "dtype",
        "batch_input_shape",
        "batch_shape",
        "input_shape",
        "input_dim",
        "input_length",
        "build_config",
        "seed",
        "autocast",
        "activity_regularizer",
        "quantization_config",
    ]
)
_ENDINGS_WITHOUT_EFFECT = ("_initializer", "_regularizer", "_constraint")

#: Options that count something, in any layer: whole numbers from 1 on, or ``None``
#: where Keras has a default.
COUNTS = frozenset({
    "units", "filters", "kernel_size", "strides", "dilation_rate", "groups", "depth_multiplier", "pool_size", "size",
    "num_heads", "key_dim", "value_dim", "output_shape", "input_dim", "output_dim", "n",
})  # fmt: skip

#: The largest count: a file may claim any number, and modules take their memory before
#: weights are compared.
LARGEST = 10_000_000

#: Options that are a probability, in any layer.
PROBABILITIES = frozenset({"rate", "dropout", "recurrent_dropout"})

#: Options that are known, each with the values that may be ported.
Only = dict[str, tuple[Any, ...]]

#: Arrays of a layer as tensors of PyTorch, by their path below the layer's module.
State = dict[str, Tensor]


class LayerRule:
    """How one class of Keras layers is ported; a subclass is registered under the
    class's name.

    Attributes:
        layer: the layer at hand.
        options: the options that :meth:`build` honours.
        only: options that are known, with the values that may be ported.
        arguments: what :meth:`build` honours when Keras passes it by name, in a call.
        counts: which of `options` are whole numbers from 1 on.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    only: ClassVar[Only] = {}
    arguments: ClassVar[frozenset[str]] = frozenset()
    counts: ClassVar[frozenset[str]] = COUNTS

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __getitem__(self, option: str) -> Any:
        return self.layer.config[option]

    def get(self, option: str, default: Any = None) -> Any:
        """Return an option, or its default in Keras where an old file leaves it out."""
        return self.layer.config.get(option, default)

    def variables(self) -> list[Variable]:
        """Return the layer's weights in Keras' order."""
        return []

    def problems(self) -> Iterator[str]:
        """Yield what cannot be ported, an option a line."""
        for option, value in self.layer.config.items():
            if option in self.only:
                if _plain(value) not in self.only[option]:
                    yield f"{option}={value!r} (only {', '.join(map(repr, self.only[option]))})"
            elif not (
                option in self.options
                or option in WITHOUT_EFFECT
                or option.endswith(_ENDINGS_WITHOUT_EFFECT)
            ):
                yield f"{option}={value!r} is an option unknown to the port"
            elif option in self.options & self.counts:
                yield from count_problem(option, value)
            elif option in self.options & PROBABILITIES:
                yield from _probability_problem(option, value)
        policy = _policy(self.get("dtype"))
        if "float16" in policy or "8" in policy:
            yield f"dtype={policy!r} computes in fewer bits; a port computes in float32"

    def build(
        self, net: Network, name: str, *inputs: Any, **kwargs: Any
    ) -> Value | list[Value]:
        """Write one call of the layer.

        Args:
            net: the graph that is being written.
            name: under which the layer's module is kept.
            *inputs: what Keras passes to the layer: a `Value`, or a list of them for a
                merge.
            **kwargs: what Keras passes by name.
        """
        raise NotImplementedError

    def state(self) -> State:
        """Return the layer's arrays in PyTorch's layout, by their path below the
        layer's module.
        """
        return {}

    def tensor(self, variable: str, *shape: int | None) -> Tensor:
        """Return an array of the file as a float32 tensor.

        Args:
            variable: its name in Keras.
            *shape: which the configuration makes, ``None`` for a length that it leaves
                to the input. Left out, nothing is checked; needed where PyTorch's
                layout no longer shows how Keras split an axis.

        Raises:
            PortError: the array is stored in another shape.
        """
        array = self.layer.arrays[variable]
        fits = len(shape) == array.ndim and all(
            w in (None, s) for w, s in zip(shape, array.shape, strict=True)
        )
        if shape and not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise PortError(
                f"The {self.layer} stores {variable!r} with the shape {list(array.shape)}; its configuration makes "
                f"[{wanted}]. The weights are of another model, or the configuration was changed after training."
            )
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    def number(self, option: str, default: int = 1) -> int:
        """Return an option that Keras writes as ``3``, ``[3]`` or ``(3,)``."""
        value = self.get(option, default)
        return int(value[0] if isinstance(value, list | tuple) else value)


def rule_of(layer: Layer) -> LayerRule:
    """Return the rule for a layer."""
    return LAYERS.get(layer.class_name)(layer)


def variables_of(layer: Layer) -> list[Variable]:
    """Return the weights of a layer in Keras' order; nested models and unknown layers
    have none of their own.
    """
    return rule_of(layer).variables() if layer.class_name in LAYERS else []


def count_problem(option: str, value: Any) -> Iterator[str]:
    """Yield why an option is not a whole number from 1 to `LARGEST`, which Keras writes
    as ``3`` or ``[3]``.
    """
    number = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        yield f"{option}={value!r} (only a whole number from 1 on)"
    elif number > LARGEST:
        yield f"{option}={value!r} is more than a port builds ({LARGEST})"


def _probability_problem(option: str, value: Any) -> Iterator[str]:
    if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
        yield f"{option}={value!r} (only a probability from 0 to 1)"


def _policy(dtype: Any) -> str:
    """Return the name of a precision, which Keras writes as text or as a serialised
    policy.
    """
    if isinstance(dtype, dict) and "config" in dtype:
        return str(dtype["config"].get("name") or dtype["config"].get("mode", ""))
    return str(dtype)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
