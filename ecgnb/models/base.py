"""Base of all models: `Backbone`, the registry `MODELS` and `build_model`.

>>> import torch
>>> model = build_model("resnet1d", n_leads=12, n_samples=1000, fs=100.0, n_classes=5)
>>> model.forward_features(torch.zeros(2, 12, 1000)).shape[:2]
torch.Size([2, 192])
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

from torch import Tensor, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

MODELS: Registry[type[Backbone]] = Registry("model")

#: Exactly one class is true of a recording, or any number of them.
TASKS: tuple[str, ...] = ("multiclass", "multilabel")


class Words(TypedDict, total=False):
    """Six keyword arguments that all models share.

    Attributes:
        n_leads: rows of the signal.
        n_samples: samples per lead.
        fs: sampling rate in Hz.
        n_classes: number of classes.
        leads: lead names in the order of the rows; empty when unknown.
        task: ``"multiclass"`` or ``"multilabel"``.
    """

    n_leads: int
    n_samples: int
    fs: float
    n_classes: int
    leads: Sequence[str]
    task: str


_REQUIRED = ("n_leads", "n_samples", "fs", "n_classes")


class FeatureInfo(TypedDict):
    """One feature map of a backbone.

    Attributes:
        name: of the module that computes it.
        channels: its number of channels C.
        reduction: samples of the signal per step of the map, so that it has
            n_samples / reduction steps, rounded up with padding and down without.
    """

    name: str
    channels: int
    reduction: int


class Backbone(nn.Module, ABC):
    """Base of all models: signal -> features -> ``head`` -> logits.

    Signals are ``[B, n_leads, n_samples]``, features ``[B, C, T']``.

    A subclass has keyword-only options, passes the arguments of `Words` on, sets
    ``head`` and ``feature_info`` and defines :meth:`forward_intermediates`. Heads,
    self-supervision, class activation maps and export rely on nothing else.

    Attributes:
        channels_last: of a class: its features are a sequence ``[B, T', C]``, as in
            transformers; feature maps are ``[B, C, T']`` all the same.
        any_length: of a class: its signals may be shorter or longer than ``n_samples``.
        head: from features to logits; it has ``embed(features)`` and a last layer
            ``classifier``.
        feature_info: the feature maps, first to last.
    """

    channels_last: ClassVar[bool] = False
    any_length: ClassVar[bool] = False
    head: nn.Module
    feature_info: list[FeatureInfo]
    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **arguments: Any) -> Backbone:
        """Keep the constructor's arguments, from which :meth:`spec` is made."""
        model = super().__new__(cls)
        object.__setattr__(model, "_arguments", arguments)  # before Module.__init__
        return model

    def __init__(
        self,
        *,
        n_leads: int,
        n_samples: int,
        fs: float,
        n_classes: int,
        leads: Sequence[str] = (),
        task: str = "multiclass",
    ) -> None:
        super().__init__()
        sizes = (n_leads, n_samples, fs, n_classes)
        for word, value in zip(_REQUIRED, sizes, strict=True):
            if not value > 0:  # also refuses NaN
                raise ConfigError(
                    f"{word} of a model must be above 0; it is {value!r}."
                )
        if task not in TASKS:
            raise ConfigError(
                f"There is no task {task!r}; a model's task is "
                f"{' or '.join(map(repr, TASKS))}."
            )
        if leads and len(leads) != n_leads:
            raise ConfigError(
                f"A model has {len(leads)} lead names {list(leads)} for "
                f"n_leads={n_leads}."
            )
        self.n_leads = int(n_leads)
        self.n_samples = int(n_samples)
        self.fs = float(fs)
        self.n_classes = int(n_classes)
        self.leads = tuple(leads)
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, n_classes]`` of signals ``[B, n_leads, n_samples]``.

        Raises:
            ConfigError: the signal has another shape.
        """
        self._check_shape(x)
        return self.head(self.forward_features(x))

    def _check_shape(self, x: Tensor) -> None:
        right_shape = x.ndim == 3 and x.shape[1] == self.n_leads
        if not right_shape or not (self.any_length or x.shape[2] == self.n_samples):
            raise ConfigError(
                f"{type(self).__name__} expected a signal [B, n_leads, n_samples] = "
                f"[B, {self.n_leads}, {self.n_samples}]; it was given {list(x.shape)}. "
                "Prepare the signals with the model's leads, length and sampling rate, "
                "or build the model for these."
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the input of the head, ``[B, C, T']``, or ``[B, T', C]`` where
        ``channels_last``.

        The signal may have any length that the model can take.
        """
        return self.forward_intermediates(x, indices=[])[0]

    @abstractmethod
    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the features and some feature maps.

        Args:
            x: signals ``[B, n_leads, T]``.
            indices: ``None`` for all maps of ``feature_info``, a number n for the last
                n, or a list of indices.

        Returns:
            Features as of :meth:`forward_features`, and a list of maps ``[B, C_i,
            T_i]`` from first to last.
        """

    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups, from the signal to the head.

        Fine-tuning freezes groups and gives the earlier ones smaller steps.
        """
        return self._group_parameters(["", "head."])

    def _group_parameters(self, prefixes: Sequence[str]) -> list[list[str]]:
        """Group the names of all parameters by their longest matching prefix."""
        groups: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
        for name, _ in self.named_parameters():
            matching = [prefix for prefix in prefixes if name.startswith(prefix)]
            groups[max(matching, key=len)].append(name)  # "" matches every name
        return list(groups.values())

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the last linear layer by a new one for ``n_classes`` classes."""
        if n_classes < 1:
            raise ConfigError(
                f"n_classes of a classifier must be above 0; it is {n_classes!r}."
            )
        old = cast(nn.Linear, self.head.classifier)  # device and dtype are kept
        self.head.classifier = nn.Linear(
            old.in_features, n_classes, device=old.weight.device, dtype=old.weight.dtype
        )
        self.n_classes = int(n_classes)

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def spec(self) -> dict[str, Any]:
        """Return name, `Words` and all options as JSON values, for `build_model`.

        Raises:
            ConfigError: the class is not registered, so no name can build it.
        """
        kind = type(self)
        names = [name for name in MODELS if MODELS.get(name) is kind]
        if not names:
            raise ConfigError(
                f"{kind.__name__} has no name: register it with "
                "@MODELS.register('...')."
            )
        words = {word: getattr(self, word) for word in Words.__annotations__}
        options = options_of(kind)
        for option in options.keys() & self._arguments.keys():
            options[option] = self._arguments[option]
        return _to_lists({"name": names[0], **words, **options})

    def _resolve_indices(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return the entries of ``feature_info`` that ``indices`` means, ascending."""
        count = len(self.feature_info)
        known = range(count)
        if indices is None:
            return list(known)
        selected = range(-indices, 0) if isinstance(indices, int) else indices
        if not set(selected) <= set(range(-count, count)):
            raise ConfigError(
                f"{type(self).__name__} has {count} feature maps; indices={indices!r} "
                "are others."
            )
        # from first to last, without repeats
        return sorted({known[index] for index in selected})


class StagedBackbone(Backbone):
    """A ``stem`` and ``stages``, one after the other; each stage is a feature map.

    A subclass sets both, and calls :meth:`set_feature_info` with the channels and
    strides of the stages.
    """

    stem: nn.Module
    stages: nn.ModuleList

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last stage's output and those of some stages; see `Backbone`."""
        selected = self._resolve_indices(indices)
        maps = []
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in selected:
                maps.append(x)
        return x, maps

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of stem, each stage and head; see `Backbone`."""
        stages = [f"stages.{index}." for index in range(len(self.stages))]
        return self._group_parameters(["", *stages, "head."])

    def set_feature_info(
        self, stem_stride: int, channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        """Set ``feature_info`` from the stride of the stem, and the output channels and
        stride of each stage.
        """
        self.feature_info = []
        reduction = stem_stride  # samples per step so far
        for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
            reduction *= stride
            self.feature_info.append(
                FeatureInfo(name=f"stages.{index}", channels=width, reduction=reduction)
            )


def build_model(name: str, **arguments: Unpack[Words]) -> Backbone:
    """Build a registered model.

    Args:
        name: one of ``MODELS``.
        **arguments: those of `Words` (``leads`` and ``task`` may be left out) and the
            model's options.

    Raises:
        ConfigError: the name or an option is unknown, an argument is missing, or a
            value is out of range.
    """
    keep_freed_memory()
    kind = MODELS.get(name)
    defaults = options_of(kind)
    known = [*Words.__annotations__, *defaults]
    for argument in arguments:
        if argument not in known:
            raise ConfigError(
                f"The model {name!r} has no option {argument!r}."
                f"{did_you_mean(argument, known)} Its options: "
                f"{', '.join(defaults) or 'none'}."
            )
    missing = [word for word in _REQUIRED if word not in arguments]
    if missing:
        raise ConfigError(f"The model {name!r} needs {', '.join(missing)}.")
    try:
        return kind(**arguments)
    except (TypeError, RuntimeError) as error:  # such as one number for a list
        options = {key: value for key, value in arguments.items() if key in defaults}
        raise ConfigError(
            f"The model {name!r} cannot be built with the options {options!r}: "
            f"{error}. The defaults are {defaults!r}."
        ) from error


def options_of(kind: type[Backbone]) -> dict[str, Any]:
    """Return a model's options other than `Words`, with their defaults."""
    options = {}
    for parameter in inspect.signature(kind.__init__).parameters.values():
        # some models spell them out
        is_option = parameter.name not in Words.__annotations__
        if is_option and parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = parameter.default
    return options


def _to_lists(value: Any) -> Any:
    """Return a deep copy with lists for tuples."""
    if isinstance(value, dict):
        return {key: _to_lists(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_lists(item) for item in value]
    return value


#: Numbers of two settings in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20  # 256 MiB
_MAX_HEAP_BYTES = 32 * 2**20  # of one allocation; the limit of glibc


@functools.cache
def keep_freed_memory() -> bool:
    """Tune glibc malloc so that freed tensors are reused (Linux only).

    By default glibc returns all but a few megabytes to the system after each forward
    pass and fetches them again, page by page, in the next one; a network of 64 channels
    over 2,000 samples then takes twice its time on a CPU (11 ms against 5 ms for a
    batch of 8). Here up to 256 MB are kept. Done once per process; nothing happens
    outside Linux, or where ``MALLOC_TRIM_THRESHOLD_`` is set by the user.

    Returns:
        Whether the settings were accepted.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is None:
        return False
    is_set = mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(is_set and mallopt(_MMAP_THRESHOLD, _MAX_HEAP_BYTES))
