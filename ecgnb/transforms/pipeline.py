"""`Transform` and `Pipeline`: the chance is drawn first, then applied by a pure
function.

>>> import numpy as np
>>> pipeline = build_pipeline(["zscore", {"name": "clip", "limit": 2.0}])
>>> float(np.abs(pipeline(np.random.default_rng(0).normal(size=(12, 500)), fs=500.0)).max())
2.0
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import Registry, build_from_spec
from ecgnb.transforms.batching import Array, flat_keys, flatten
from ecgnb.transforms.random import stream_of

#: What chance decided for each record of a batch: small tensors, first dimension B;
#: empty where chance has no part.
Params = dict[str, Tensor]
#: How a configuration names a transform: ``"zscore"`` or ``{"name": "bandpass", "low":
#: 0.5, "high": 40.0}``.
Spec = str | Mapping[str, Any]

TRANSFORMS: Registry[type[Transform]] = Registry("transform")

#: What a model sees when nothing else is asked for: every lead with mean 0 and variance
#: 1 over its valid samples.
DEFAULT_TRANSFORMS: tuple[str, ...] = ("zscore",)


@dataclass(frozen=True)
class Transform(ABC):
    """One change of signals ``[..., n_leads, n_samples]``; its fields are its options.

    A subclass is a frozen dataclass that defines ``_apply`` and, where chance has a
    part, ``sample``. Signals are never changed in place. Samples that the mask calls
    padding count in no statistic and are 0 afterwards. Signals must be finite: a NaN
    would spread over its whole lead in a filter.
    """

    #: Whether chance has a part; random transforms are left out of evaluation.
    random: ClassVar[bool] = False

    def sample(
        self,
        shape: Sequence[int],
        keys: Tensor,
        *,
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
    ) -> Params:
        """Draw what chance decides for records ``keys`` (int64 ``[B]``) of a signal
        ``[B, n_leads, n_samples]``.
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
        """Return the changed signal: a pure, differentiable, deterministic function of
        its arguments.

        Args:
            x: floating numpy array or torch tensor ``[..., n_leads, n_samples]``.
            params: what :meth:`sample` returned; nothing for a deterministic transform.
            fs: samples a second, for transforms that think in seconds or Hz.
            mask: bool ``[..., n_samples]``, True where a sample is real; ``None`` when
                all are.

        Returns:
            The kind, type and shape of ``x``; it may share memory with ``x`` when
            nothing changed.

        Raises:
            ConfigError: signal, mask or ``fs`` do not fit the transform.
        """
        flat = flatten(x, mask)
        on_device = {
            name: value.to(flat.x.device) for name, value in (params or {}).items()
        }
        return flat.restore(self._apply(flat.x, on_device, fs, flat.mask))

    def __call__(
        self,
        x: Array,
        *,
        fs: float | None = None,
        mask: Any = None,
        keys: Any = None,
        seed: int = 0,
        step: int = 0,
    ) -> Array:
        """Sample, then apply; see :class:`Pipeline`."""
        return Pipeline([self])(x, fs=fs, mask=mask, keys=keys, seed=seed, step=step)

    def spec(self) -> dict[str, Any]:
        """Return the name and all options as plain values; :func:`build_transform`
        makes the transform of them.
        """
        options = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        return {"name": self.name, **options}

    @property
    def name(self) -> str:
        """The name under which the transform is registered."""
        for name in TRANSFORMS:
            if TRANSFORMS.get(name) is type(self):
                return name
        raise ConfigError(
            f"{type(self).__name__} has no name: register it with @TRANSFORMS.register('...')."
        )

    @abstractmethod
    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        """Change ``x`` ``[B, n_leads, n_samples]``; the caller sets padding to 0
        afterwards.
        """

    def _rate(self, fs: float | None) -> float:
        if fs is None or not fs > 0:
            raise ConfigError(
                f"The transform {self.name!r} needs the sampling rate; it was given fs={fs!r}."
            )
        return float(fs)


class Pipeline:
    """Transforms one after the other.

    Preprocessing and augmentation are the same kind of thing; :meth:`deterministic` is
    what evaluation and prediction use. Each random transform draws from a stream of its
    own, named after it.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        seen: Counter[type] = Counter()
        self._streams: list[int] = []
        for transform in self.transforms:
            # A deterministic transform draws nothing, so it needs no stream and no
            # registered name.
            self._streams.append(
                stream_of(transform.name, seen[type(transform)])
                if transform.random
                else 0
            )
            seen[type(transform)] += 1

    @property
    def random(self) -> bool:
        """Whether chance has a part in any of the transforms."""
        return any(transform.random for transform in self.transforms)

    def sample(
        self, shape: Sequence[int], keys: Any, *, seed: int = 0, step: int = 0
    ) -> list[Params]:
        """Draw for records ``keys`` of a signal of ``shape`` ``[..., n_leads,
        n_samples]``; one entry a transform.

        Raises:
            ConfigError: a random transform has no keys, or there is not one key a
                record.
        """
        if self.random and keys is None:
            raise ConfigError(
                f"The pipeline {self!r} is random and needs keys, one integer a record (such as its row in the store): "
                "they make a record's augmentation independent of its batch."
            )
        device = keys.device if isinstance(keys, Tensor) else torch.device("cpu")
        flat = flat_keys(keys, tuple(shape), device)
        if flat is None:
            return [{} for _ in self.transforms]
        size = (len(flat), *shape[-2:])
        pairs = zip(self.transforms, self._streams, strict=True)
        return [
            transform.sample(size, flat, seed=seed, step=step, stream=stream)
            for transform, stream in pairs
        ]

    def apply(
        self,
        signal: Array,
        params: Sequence[Params],
        *,
        fs: float | None = None,
        mask: Any = None,
    ) -> Array:
        """Apply all transforms with what :meth:`sample` drew; pure and
        differentiable.
        """
        flat = flatten(signal, mask)
        x = flat.x
        for transform, drawn in zip(self.transforms, params, strict=True):
            x = transform.apply(x, drawn, fs=fs, mask=flat.mask)
        return flat.restore(x)

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
            fs: samples a second.
            mask: bool ``[..., n_samples]``, True where a sample is real; ``None`` when
                all are.
            keys: one integer a record, ``[...]``; needed when a transform is random.
            seed: the seed of the run.
            step: the optimisation step; the same (seed, step, key) gives the same
                augmentation.

        Raises:
            ConfigError: the signal, mask, keys or rate do not fit.
        """
        return self.apply(
            signal,
            self.sample(signal.shape, keys, seed=seed, step=step),
            fs=fs,
            mask=mask,
        )

    def deterministic(self) -> Pipeline:
        """Return the pipeline without its random transforms."""
        return Pipeline(
            [transform for transform in self.transforms if not transform.random]
        )

    def specs(self) -> list[dict[str, Any]]:
        """Return plain values from which :func:`build_pipeline` makes the same
        pipeline.
        """
        return [transform.spec() for transform in self.transforms]

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __len__(self) -> int:
        return len(self.transforms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.transforms == other.transforms

    def __hash__(self) -> int:
        return hash(self.transforms)

    def __repr__(self) -> str:
        return f"Pipeline({list(self.transforms)!r})"


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
    """Make one transform of its name, or of a dictionary with ``"name"`` and options;
    see :func:`build_pipeline`.
    """
    return build_from_spec(TRANSFORMS, spec)
