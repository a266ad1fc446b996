"""`Transform` and `Pipeline`: draw random parameters first, then apply them purely.

>>> import numpy as np
>>> pipeline = build_pipeline(["zscore", {"name": "clip", "limit": 2.0}])
>>> signal = np.random.default_rng(0).normal(size=(12, 500))
>>> float(np.abs(pipeline(signal, fs=500.0)).max())
2.0
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry, build_from_spec
from ecgnb.transforms.batching import Array, flat_keys, flatten, zero_padding
from ecgnb.transforms.random import stream_of

#: Random parameters of a transform for each record of a batch: small tensors, first
#: dimension B; empty for deterministic transforms.
Params = dict[str, Tensor]
#: A transform in a configuration: ``"zscore"`` or ``{"name": "bandpass", "low": 0.5,
#: "high": 40.0}``.
Spec = str | Mapping[str, Any]

TRANSFORMS: Registry[type[Transform]] = Registry("transform")

#: Default: every lead with mean 0 and variance 1 over its valid samples.
DEFAULT_TRANSFORMS: tuple[str, ...] = ("zscore",)


def bounded(default: Any, *, low: float, high: float = math.inf) -> Any:
    """Declare an option of a transform that must be between ``low`` and ``high``."""
    limits = f"between {low:g} and {high:g}"
    return field(default=default, metadata={"limits": (low, high, limits)})


def positive(default: Any) -> Any:
    """Declare an option of a transform that must be above 0."""
    limits = (sys.float_info.min, math.inf, "above 0")
    return field(default=default, metadata={"limits": limits})


@dataclass(frozen=True)
class Transform(ABC):
    """One change of signals ``[..., n_leads, n_samples]``; its fields are its options.

    A subclass is a frozen dataclass that defines ``transform_batch`` and, when it is
    random, ``sample``. Signals are never changed in place. Padding, where the mask is
    False, enters no statistic and is 0 afterwards. Signals must be finite: a filter
    spreads a NaN over its whole lead.
    """

    #: Whether random parameters are drawn; evaluation leaves random transforms out.
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for option in fields(self):
            if "limits" not in option.metadata:
                continue
            low, high, limits = option.metadata["limits"]
            value = getattr(self, option.name)
            self.check(
                low <= value <= high,
                f"needs {option.name} {limits}, not {value!r}",
            )

    @abstractmethod
    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        """Return ``x`` ``[B, n_leads, n_samples]`` changed.

        Padding need not be 0; the caller sets it to 0 afterwards.
        """

    def sample(
        self,
        shape: Sequence[int],
        keys: Tensor,
        *,
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
    ) -> Params:
        """Draw the parameters of records ``keys`` (int64 ``[B]``).

        Args:
            shape: ``[B, n_leads, n_samples]`` of the signal.
            keys: one number per record, such as its row in the store.
            seed: the seed of the run.
            step: the optimization step.
            stream: of this transform in its pipeline.
        """
        return {}

    def apply(
        self,
        x: Array,
        params: Params | None = None,
        *,
        fs: float | None = None,
        mask: Any = None,
    ) -> Array:
        """Return the changed signal: pure, differentiable, deterministic.

        Args:
            x: floating numpy array or torch tensor ``[..., n_leads, n_samples]``.
            params: from :meth:`sample`; none for a deterministic transform.
            fs: sampling rate in Hz, for transforms with options in seconds or Hz.
            mask: bool ``[..., n_samples]``, True where a sample is real; ``None`` when
                all are.

        Returns:
            Type, dtype and shape of ``x``; it may share memory with ``x`` when nothing
            changed.

        Raises:
            ConfigError: signal, mask or ``fs`` do not fit the transform.
        """
        return _apply_all([self], x, [params or {}], fs, mask)

    def __call__(self, x: Array, **options: Any) -> Array:
        """Sample, then apply; options as for :class:`Pipeline`."""
        return Pipeline([self])(x, **options)

    def spec(self) -> dict[str, Any]:
        """Return name and options as plain values, for :func:`build_transform`."""
        return {"name": self.name, **asdict(self)}

    @property
    def name(self) -> str:
        """Name in the registry."""
        for name in TRANSFORMS:
            if TRANSFORMS.get(name) is type(self):
                return name
        raise ConfigError(
            f"{type(self).__name__} has no name: register it with "
            "@TRANSFORMS.register('...')."
        )

    def check(self, holds: object, message: str) -> None:
        """Raise a `ConfigError` with ``message`` when ``holds`` is false."""
        if not holds:
            raise ConfigError(f"The transform {self.name!r} {message}.")

    def required_fs(self, fs: float | None) -> float:
        """Return the sampling rate, or raise a `ConfigError` when it is missing."""
        if fs is None or not fs > 0:
            raise ConfigError(
                f"The transform {self.name!r} needs the sampling rate in Hz, but fs is "
                f"{fs!r}."
            )
        return float(fs)


class Pipeline:
    """Transforms one after the other.

    Preprocessing and augmentation have the same interface; evaluation and prediction
    use :meth:`deterministic`. Each random transform draws from its own stream, which
    depends on its name.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        occurrences: Counter[type] = Counter()
        self._streams: list[int] = []
        for transform in self.transforms:
            stream = 0  # deterministic transforms need neither stream nor name
            if transform.random:
                stream = stream_of(transform.name, occurrences[type(transform)])
            self._streams.append(stream)
            occurrences[type(transform)] += 1

    @property
    def random(self) -> bool:
        """Whether any of the transforms is random."""
        return any(transform.random for transform in self.transforms)

    def sample(
        self, shape: Sequence[int], keys: Any, *, seed: int = 0, step: int = 0
    ) -> list[Params]:
        """Draw the parameters of each transform for records ``keys``.

        Raises:
            ConfigError: a random transform has no keys, or their number is not that of
                the records in ``shape`` ``[..., n_leads, n_samples]``.
        """
        if keys is None:
            if self.random:
                raise ConfigError(
                    f"The pipeline {self!r} is random and needs keys, one integer per "
                    "record (such as its row in the store): they make a record's "
                    "augmentation independent of its batch."
                )
            return [{} for _ in self.transforms]
        keys = flat_keys(keys, tuple(shape))
        size = (len(keys), *shape[-2:])
        params = []
        for transform, stream in zip(self.transforms, self._streams, strict=True):
            drawn = transform.sample(size, keys, seed=seed, step=step, stream=stream)
            params.append(drawn)
        return params

    def apply(
        self,
        signal: Array,
        params: Sequence[Params],
        *,
        fs: float | None = None,
        mask: Any = None,
    ) -> Array:
        """Apply all transforms with ``params`` of :meth:`sample`; differentiable."""
        return _apply_all(self.transforms, signal, params, fs, mask)

    def __call__(
        self,
        signal: Array,
        *,
        fs: float | None = None,
        mask: Any = None,
        keys: Any = None,
        seed: int = 0,
        step: int = 0,
    ) -> Array:
        """Return the transformed signal.

        Args:
            signal: floating numpy array or torch tensor ``[..., n_leads, n_samples]``,
                in mV.
            fs: sampling rate in Hz.
            mask: bool ``[..., n_samples]``, True where a sample is real; ``None`` when
                all are.
            keys: one integer per record, ``[...]``; required by random transforms.
            seed: the seed of the run.
            step: the optimization step; the same (seed, step, key) gives the same
                augmentation.

        Raises:
            ConfigError: the signal, mask, keys or rate do not fit.
        """
        params = self.sample(signal.shape, keys, seed=seed, step=step)
        return self.apply(signal, params, fs=fs, mask=mask)

    def deterministic(self) -> Pipeline:
        """Return the pipeline without its random transforms."""
        return Pipeline([step for step in self.transforms if not step.random])

    def specs(self) -> list[dict[str, Any]]:
        """Return names and options as plain values, for :func:`build_pipeline`."""
        return [transform.spec() for transform in self.transforms]

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.transforms == other.transforms

    def __repr__(self) -> str:
        return f"Pipeline({list(self.transforms)!r})"


def _apply_all(
    transforms: Sequence[Transform],
    signal: Array,
    params: Sequence[Params],
    fs: float | None,
    mask: Any,
) -> Array:
    batch = flatten(signal, mask)
    x = batch.x
    for transform, drawn in zip(transforms, params, strict=True):
        on_device = {name: value.to(x.device) for name, value in drawn.items()}
        changed = transform.transform_batch(x, on_device, fs, batch.mask)
        # Also where a transform returns another dtype.
        x = zero_padding(changed, batch.mask).to(x.dtype)
    return batch.restore(x)


def build_pipeline(specs: Sequence[Spec] = DEFAULT_TRANSFORMS) -> Pipeline:
    """Make a pipeline of names and options.

    Args:
        specs: each a name, or a dictionary with ``"name"`` and options.

    Raises:
        ConfigError: a name or option is unknown, an option is missing or has a value
            out of range.
    """
    if isinstance(specs, str | Mapping):
        specs = [specs]
    return Pipeline([build_transform(spec) for spec in specs])


def build_transform(spec: Spec) -> Transform:
    """Make one transform of its specification; see :func:`build_pipeline`."""
    return build_from_spec(TRANSFORMS, spec)
