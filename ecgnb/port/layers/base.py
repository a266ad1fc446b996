"""Base class of the layer rules: weights, options and PyTorch form of a Keras layer.

Every option of a layer is honoured (`options`), limited to values that can be ported
(`only`), without effect on what a trained model computes (`WITHOUT_EFFECT`), or
refused. A rule declares its options; `problems` compares a layer with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ecgnb.core.errors import PortError
from ecgnb.core.registry import Registry
from ecgnb.port.network import Network, Value
from ecgnb.port.reading.graph import Layer, fits
from ecgnb.port.reading.keras_weights import Variable

LAYERS: Registry[type[LayerRule]] = Registry("Keras layer")

Rule = TypeVar("Rule", bound="LayerRule")

#: Options of any layer that change nothing about what a trained model computes.
WITHOUT_EFFECT = frozenset(
    {
        "name",
        "trainable",
        "dtype",
        "batch_input_shape",
        "batch_shape",
        "input_shape",
        "input_dim",
        "input_length",
        "build_config",  # shapes, which a port computes
        "seed",  # of dropout and noise
        "autocast",
        "activity_regularizer",
        "quantization_config",  # null without quantisation
    }
)
_ENDINGS_WITHOUT_EFFECT = ("_initializer", "_regularizer", "_constraint")

#: Options that turn an array off, by the array's name.
SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}

#: Names of arrays that are computed from the data, not trained.
STATISTICS = frozenset({"moving_mean", "moving_variance", "mean", "variance", "count"})

#: The largest count: a file may claim any number, and modules allocate their memory
#: before weights are compared.
LARGEST = 10_000_000

#: Options that may have a few values only.
Only = Mapping[str, tuple[Any, ...]]

CHANNELS_LAST: Only = {"data_format": ("channels_last", None)}
NO_LORA: Only = {"lora_rank": (None,), "lora_alpha": (None,)}

#: Returns why the value of an option cannot be ported; nothing if it can.
Check = Callable[[Any], str | None]

#: Keyword arguments of a module's constructor, or of a call.
Options = dict[str, Any]

#: Arguments of a module's constructor.
Args = tuple[Any, ...]

#: Arrays of a layer as tensors of PyTorch, by their path below the layer's module.
State = dict[str, Tensor]


def as_list(value: Any) -> list[Any]:
    """Return what Keras writes as ``-1`` or ``[1, 2]``, such as axes, as a list."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def count_problem(value: Any) -> str | None:
    """Return why a value is not a whole number from 1 to `LARGEST`, which Keras writes
    as ``3`` or ``[3]``; ``None`` is a default of Keras.
    """
    numbers = as_list(value)
    if numbers == [None]:
        return None
    if len(numbers) != 1 or type(numbers[0]) is not int or numbers[0] < 1:
        return "(only a whole number from 1 on)"
    if numbers[0] > LARGEST:
        return f"is more than a port builds ({LARGEST})"
    return None


def check_that(is_valid: Callable[[Any], bool], reason: str) -> Check:
    """Return a check that refuses all other values for a reason."""
    return lambda value: None if is_valid(value) else reason


def is_probability(value: Any) -> bool:
    """Whether a value is a probability, or left out."""
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


#: Checks of honoured options, the same in any layer.
CHECKS: dict[str, Check] = dict.fromkeys(
    (
        "units",
        "filters",
        "kernel_size",
        "strides",
        "dilation_rate",
        "groups",
        "depth_multiplier",
        "pool_size",
        "size",
        "num_heads",
        "key_dim",
        "value_dim",
        "output_shape",
        "input_dim",
        "output_dim",
        "n",
    ),
    count_problem,
)
CHECKS |= dict.fromkeys(
    ("rate", "dropout", "recurrent_dropout"),
    check_that(is_probability, "(only a probability from 0 to 1)"),
)


class LayerRule:
    """How one class of Keras layers is ported; a subclass is registered under the
    class's name.

    Attributes:
        layer: the layer.
        options: the options that :meth:`build` honours.
        only: options that are known, with the values that may be ported.
        checks: of honoured options, in place of those in `CHECKS`.
        arguments: what :meth:`build` honours when Keras passes it by name, in a call.
        renames: for arrays that are only renamed, their names in PyTorch and Keras.
        weights: names of the arrays in Keras' order; `SWITCHES` may turn some off.
        weight_group: where Keras 3 stores them below the layer.
    """

    options: ClassVar[Set[str]] = frozenset()
    only: ClassVar[Only] = {}
    checks: ClassVar[Mapping[str, Check]] = {}
    arguments: ClassVar[Set[str]] = frozenset()
    renames: ClassVar[Mapping[str, str]] = {}
    weights: ClassVar[tuple[str, ...]] = ()
    weight_group: ClassVar[str] = ""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __getitem__(self, option: str) -> Any:
        return self.layer.config[option]

    def get(self, option: str, default: Any = None) -> Any:
        """Return an option, or its default in Keras where an old file leaves it out."""
        return self.layer.config.get(option, default)

    def number(self, option: str, default: int = 1) -> int:
        """Return an option that Keras writes as ``3``, ``[3]`` or ``(3,)``."""
        return int(as_list(self.get(option, default))[0])

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a bias."""
        return bool(self.get("use_bias", True))

    @property
    def bias_option(self) -> Options:
        """What a constructor of PyTorch needs to leave the bias out."""
        if self.has_bias:
            return {}
        return {"bias": False}

    def variables(self) -> list[Variable]:
        """Return the layer's weights in Keras' order."""
        return [
            Variable(name, self.weight_group, name not in STATISTICS)
            for name in self.weights
            if self.get(SWITCHES.get(name, ""), True)
        ]

    def problems(self) -> Iterator[str]:
        """Yield what cannot be ported, one line per option."""
        for option, value in self.layer.config.items():
            reason = self._refusal(option, value)
            if reason:
                yield f"{option}={value!r} {reason}"
        policy = self.get("dtype")
        if isinstance(policy, dict) and "config" in policy:
            options = policy["config"]
            policy = options.get("name") or options.get("mode", "")
        policy = str(policy)
        if "float16" in policy or "8" in policy:  # int8, float8
            yield f"dtype={policy!r} computes in fewer bits; a port computes in float32"

    def _refusal(self, option: str, value: Any) -> str | None:
        """Return why an option of the layer cannot be ported; nothing if it can."""
        if option in self.only:
            allowed = self.only[option]
            if isinstance(value, list):  # JSON has no tuples
                value = tuple(value)
            if value in allowed:
                return None
            return f"(only {', '.join(map(repr, allowed))})"
        if option in self.options:
            check = self.checks.get(option) or CHECKS.get(option)
            if check:
                return check(value)
            return None
        if option in WITHOUT_EFFECT or option.endswith(_ENDINGS_WITHOUT_EFFECT):
            return None
        return "is an option unknown to the port"

    def build(self, net: Network, *inputs: Any, **kwargs: Any) -> Value | list[Value]:
        """Write one call of the layer; a layer of one tensor needs only `apply`.

        Args:
            net: the graph that is being written.
            *inputs: what Keras passes to the layer: a `Value`, or a list of them for a
                merge.
            **kwargs: what Keras passes by name.
        """
        return self.apply(net, inputs[0])

    def apply(self, net: Network, x: Value) -> Value:
        """Apply the layer to a tensor; see `build`."""
        raise NotImplementedError

    def state(self) -> State:
        """Return the layer's arrays in PyTorch's layout, by their path below the
        layer's module.
        """
        return {
            key: self.tensor(name)
            for key, name in self.renames.items()
            if name in self.layer.arrays
        }

    def tensor(self, variable: str, *shape: int | None) -> Tensor:
        """Return an array of the file as a float32 tensor.

        Args:
            variable: its name in Keras.
            *shape: of the configuration, ``None`` for a length that depends on the
                input. Without it nothing is checked; it is needed where PyTorch's
                layout no longer shows how Keras split an axis.

        Raises:
            PortError: the array is stored in another shape.
        """
        array = self.layer.arrays[variable]
        if shape and not fits(shape, array.shape):
            sizes = ", ".join("any" if size is None else str(size) for size in shape)
            raise PortError(
                f"The {self.layer} stores {variable!r} with the shape "
                f"{list(array.shape)}; its configuration makes [{sizes}]. The weights "
                "are of another model, or the configuration was changed after training."
            )
        # HDF5 may hold float16, float64 or big-endian numbers
        return torch.from_numpy(np.asarray(array, dtype=np.float32, order="C"))


def keras_layer(rule: type[Rule]) -> type[Rule]:
    """Register a rule under its class's name, which is that of the class in Keras."""
    LAYERS.register(rule.__name__)(rule)
    return rule


class ModuleRule(LayerRule):
    """A layer that is one PyTorch module of one tensor.

    Attributes:
        module: its class.
        layout: in which it takes the tensor; ``None`` for either.
    """

    module: ClassVar[type[nn.Module]]
    layout: ClassVar[str | None] = None

    def apply(self, net: Network, x: Value) -> Value:
        options = self.module_options()
        return net.apply(self.module, x, *self.args(), layout=self.layout, **options)

    def args(self) -> Args:
        """Return the arguments of the constructor."""
        return ()

    def module_options(self) -> Options:
        """Return the keyword arguments of the constructor: what is not a default."""
        return {}


def rule_of(layer: Layer) -> LayerRule:
    """Return the rule for a layer."""
    return LAYERS.get(layer.class_name)(layer)


def variables_of(layer: Layer) -> list[Variable]:
    """Return the weights of a layer in Keras' order; nested models and unknown layers
    have none themselves.
    """
    if layer.class_name in LAYERS:
        return rule_of(layer).variables()
    return []
