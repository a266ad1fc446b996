"""What every architecture has in common: the six words, the interface of a backbone,
the registry.

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

#: Numbers of the two settings in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 256 * 2**20
_LARGEST_FROM_HEAP = 32 * 2**20  # glibc allows no more


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MB that was freed, for the tensors of the next call.

    By default it gives a few megabytes back to the system after every forward pass and
    fetches them again, page by page, in the next one; a network of 64 channels over
    2,000 samples then takes twice its time on a CPU (11 ms against 5 ms for a batch of
    8). Done once a process; nothing happens outside Linux, or where
    ``MALLOC_TRIM_THRESHOLD_`` is set, which says that somebody has chosen already.

    Returns:
        Whether the settings were taken.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another C library has none
    if mallopt is None:
        return False
    return bool(
        mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)
    )


MODELS: Registry[type[Backbone]] = Registry("model")

#: What a class score means: exactly one class is true of a recording, or any number of
#: them.
TASKS: tuple[str, ...] = ("multiclass", "multilabel")


class Words(TypedDict, total=False):
    """The six words that every model is told, keyword-only.

    Attributes:
        n_leads: rows of the signal.
        n_samples: samples a lead.
        fs: samples a second.
        n_classes: classes to score.
        leads: lead names in the order of the rows; empty when unknown.
        task: ``"multiclass"`` or ``"multilabel"``.
    """

    n_leads: int
    n_samples: int
    fs: float
    n_classes: int
    leads: Sequence[str]
    task: str


class FeatureInfo(TypedDict):
    """One feature map that a backbone can hand out.

    Attributes:
        name: of the module that makes it.
        channels: its number of channels C.
        reduction: samples of the signal for one step of the map, so that it has
            n_samples / reduction steps, rounded up with padding and down without.
    """

    name: str
    channels: int
    reduction: int


class Backbone(nn.Module, ABC):
    """Base of all models: signal ``[B, n_leads, n_samples]`` -> features ``[B, C, T']``
    -> ``head`` -> logits.

    A subclass takes its options keyword-only and passes the six words on; it sets
    ``head`` and ``feature_info`` and defines :meth:`forward_intermediates`. Heads,
    self-supervision, class activation maps and export rely on nothing else.

    Attributes:
        channels_last: of a class: its features are a sequence ``[B, T', C]``, as
            transformers have it; feature maps are ``[B, C, T']`` all the same.
        any_length: of a class: its signals may be shorter or longer than ``n_samples``.
        head: from features to logits; it has ``embed(features)`` and a last layer
            ``classifier``.
        feature_info: the feature maps, first to last.
    """

    channels_last: ClassVar[bool] = False
    any_length: ClassVar[bool] = False
    head: nn.Module
    feature_info: list[FeatureInfo]
    _given: dict[str, Any]

    def __new__(cls, *args: Any, **given: Any) -> Backbone:
        """Note what the constructor is given: with it :meth:`spec` can tell how to
        build the model again.
        """
        model = super().__new__(cls)
        object.__setattr__(model, "_given", given)
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
        for word, value in {
            "n_leads": n_leads,
            "n_samples": n_samples,
            "fs": fs,
            "n_classes": n_classes,
        }.items():
            if not value > 0:
                raise ConfigError(
                    f"A model needs {word} above 0; it was given {value!r}."
                )
        if task not in TASKS:
            raise ConfigError(
                f"There is no task {task!r}; a model's task is {' or '.join(map(repr, TASKS))}."
            )
        if leads and len(leads) != n_leads:
            raise ConfigError(
                f"A model was given {len(leads)} lead names {list(leads)} for n_leads={n_leads}."
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
        if (
            x.ndim != 3
            or x.shape[1] != self.n_leads
            or (x.shape[2] != self.n_samples and not self.any_length)
        ):
            raise ConfigError(
                f"{type(self).__name__} expected a signal [B, n_leads, n_samples] = [B, {self.n_leads}, "
                f"{self.n_samples}]; it was given {list(x.shape)}. Prepare the signals with the model's leads, length "
                "and sampling rate, or build the model for these."
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the head takes, ``[B, C, T']`` or the sequence ``[B, T', C]``
        where ``channels_last`` says so.

        The signal may have any length that the model can take.
        """
        return self.forward_intermediates(x, indices=[])[0]

    @abstractmethod
    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those that ``indices`` ask for.

        Args:
            x: signals ``[B, n_leads, T]``.
            indices: ``None`` for all maps of ``feature_info``, a number n for the last
                n, or which ones.

        Returns:
            Features as of :meth:`forward_features`, and a list of maps ``[B, C_i,
            T_i]`` from first to last.
        """

    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups, from the signal to the head,
        which is the last group.

        Fine-tuning freezes groups and gives the earlier ones smaller steps.
        """
        head = [name for name, _ in self.named_parameters() if name.startswith("head.")]
        return [
            [
                name
                for name, _ in self.named_parameters()
                if not name.startswith("head.")
            ],
            head,
        ]

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the last linear layer by a new one for ``n_classes`` classes."""
        if n_classes < 1:
            raise ConfigError(
                f"A classifier needs n_classes above 0; it was given {n_classes!r}."
            )
        old = cast(nn.Linear, self.head.classifier)
        self.head.classifier = nn.Linear(
            old.in_features, n_classes, device=old.weight.device, dtype=old.weight.dtype
        )
        self.n_classes = int(n_classes)

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if parameter.requires_grad
        )

    def spec(self) -> dict[str, Any]:
        """Return name, six words and all options as plain JSON values;
        ``build_model(**spec)`` builds the same model.

        Raises:
            ConfigError: the class is not registered, so no name can build it.
        """
        options = options_of(type(self))
        options.update(
            {key: value for key, value in self._given.items() if key in options}
        )
        words = {word: getattr(self, word) for word in Words.__annotations__}
        return _plain({"name": _name_of(type(self)), **words, **options})

    def _wanted(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return which entries of ``feature_info`` ``indices`` mean, in ascending
        order.
        """
        count = len(self.feature_info)
        if indices is None:
            return list(range(count))
        asked = range(count - indices, count) if isinstance(indices, int) else indices
        wanted = sorted(
            {
                index + count if index < 0 and not isinstance(indices, int) else index
                for index in asked
            }
        )
        if any(not 0 <= index < count for index in wanted):
            raise ConfigError(
                f"{type(self).__name__} has {count} feature maps; indices={indices!r} asks for others."
            )
        return wanted


class StagedBackbone(Backbone):
    """A backbone that is a ``stem`` and ``stages``, one after the other; every stage is
    a feature map.

    A subclass sets both, and calls :meth:`_describe` with the channels and strides of
    the stages.
    """

    stem: nn.Module
    stages: nn.ModuleList

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last stage's output and those of the stages asked for; see
        :class:`Backbone`.
        """
        wanted = self._wanted(indices)
        maps = []
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in wanted:
                maps.append(x)
        return x, maps

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of the stem, of each stage and of the head; see
        :class:`Backbone`.
        """
        names = [name for name, _ in self.named_parameters()]
        prefixes = [
            "stem.",
            *(f"stages.{index}." for index in range(len(self.stages))),
            "head.",
        ]
        return [
            [name for name in names if name.startswith(prefix)] for prefix in prefixes
        ]

    def _describe(
        self, stem_stride: int, channels: Sequence[int], strides: Sequence[int]
    ) -> None:
        self.feature_info, reduction = [], stem_stride
        for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
            reduction *= stride
            self.feature_info.append(
                FeatureInfo(name=f"stages.{index}", channels=width, reduction=reduction)
            )


def build_model(name: str, **arguments: Unpack[Words]) -> Backbone:
    """Build a registered model.

    Args:
        name: one of ``MODELS``.
        **arguments: the six words (:class:`Words`; ``leads`` and ``task`` may be left
            out) and the model's own options.

    Raises:
        ConfigError: the name or an option is unknown, a word is missing, or a value is
            out of range.
    """
    keep_freed_memory()
    kind = MODELS.get(name)
    known = [*Words.__annotations__, *options_of(kind)]
    for argument in arguments:
        if argument not in known:
            hint = did_you_mean(argument, known)
            options = ", ".join(options_of(kind)) or "none"
            raise ConfigError(
                f"The model {name!r} has no option {argument!r}.{hint} Its options: {options}."
            )
    missing = [
        word
        for word in ("n_leads", "n_samples", "fs", "n_classes")
        if word not in arguments
    ]
    if missing:
        raise ConfigError(f"The model {name!r} must be told {', '.join(missing)}.")
    try:
        return kind(**arguments)
    except (
        TypeError,
        RuntimeError,
    ) as error:  # text for a number, one number for a list
        given = {
            name: value
            for name, value in arguments.items()
            if name not in Words.__annotations__
        }
        raise ConfigError(
            f"The model {name!r} cannot be built with the options {given!r}: {error}. "
            f"The defaults are {options_of(kind)!r}."
        ) from error


def options_of(kind: type[Backbone]) -> dict[str, Any]:
    """Return the options of a model besides the six words, with their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.name not in Words.__annotations__
    }


def _name_of(kind: type[Backbone]) -> str:
    for name in MODELS:
        if MODELS.get(name) is kind:
            return name
    raise ConfigError(
        f"{kind.__name__} has no name: register it with @MODELS.register('...')."
    )


def _plain(value: Any) -> Any:
    """Return ``value`` with lists for tuples, a copy that shares nothing with the
    model.
    """
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return (
        [_plain(item) for item in value] if isinstance(value, list | tuple) else value
    )
