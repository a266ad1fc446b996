"""Random transforms for training; each changes a record with probability ``p``.

Amplitudes are in the signal's unit at the transform's place in the pipeline: mV before
a z-score, standard deviations after it. With magnitude 0 every transform returns the
signal as it was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ecgnb.core.errors import ConfigError
from ecgnb.transforms.batching import take_samples, valid_bounds
from ecgnb.transforms.pipeline import TRANSFORMS, Params, Transform
from ecgnb.transforms.random import normal, record_states, uniform


@dataclass(frozen=True, kw_only=True)
class Augment(Transform):
    """Base of the random transforms: decides who is changed and hands only those
    records to ``_change``.

    Attributes:
        p: probability that a record is changed.
    """

    random: ClassVar[bool] = True

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_range(self, "p", self.p, 0.0, 1.0)

    def sample(
        self,
        shape: Sequence[int],
        keys: Tensor,
        *,
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
    ) -> Params:
        """Draw who is changed (``"active"``, bool ``[B]``) and how; see
        :meth:`Transform.sample`.
        """
        states = record_states(keys, seed=seed, step=step, stream=stream)
        return {
            "active": uniform(states, (), stream=0) < self.p,
            **self._draw(states, int(shape[-2])),
        }

    @abstractmethod
    def _draw(self, states: Tensor, n_leads: int) -> Params:
        """Draw the quantities of each record from its state; stream 0 is taken."""

    @abstractmethod
    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        """Change all records of ``x`` ``[B, n_leads, n_samples]``."""

    def _apply(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        rows = params["active"].nonzero().squeeze(1)
        if len(rows) == 0:
            return x
        chosen = {name: value[rows] for name, value in params.items()}
        changed = self._change(
            x[rows], chosen, fs, None if mask is None else mask[rows]
        )
        return x.index_copy(0, rows, changed)


@TRANSFORMS.register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Augment):
    """Add white noise of a standard deviation drawn between 0 and ``sd`` for each
    record.
    """

    sd: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "sd", self.sd, 0.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        # The state stands for the noise itself: 8 bytes a record instead of the size of
        # the signal.
        return {"state": states, "sd": uniform(states, (), stream=1) * self.sd}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        shape = tuple(x.shape[1:])
        # Record by record the integers of the hash stay in the processor's cache.
        noise = [normal(state, shape, stream=2) for state in params["state"].split(1)]
        return x + (torch.cat(noise) * params["sd"][:, None, None]).to(x.dtype)


@TRANSFORMS.register("baseline_wander")
@dataclass(frozen=True, kw_only=True)
class BaselineWander(Augment):
    """Add a slow drift: three sinusoids of 0.05 to ``max_frequency`` Hz, with a gain of
    its own for each lead.

    Attributes:
        amplitude: the largest total amplitude.
        max_frequency: in Hz.
    """

    amplitude: float = 0.3
    max_frequency: float = 0.5

    _WAVES = 3
    _MIN_FREQUENCY = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "amplitude", self.amplitude, 0.0)
        _check_range(self, "max_frequency", self.max_frequency, self._MIN_FREQUENCY)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        span = self.max_frequency - self._MIN_FREQUENCY
        return {
            "frequency": uniform(states, (self._WAVES,), stream=1) * span
            + self._MIN_FREQUENCY,
            "phase": uniform(states, (self._WAVES,), stream=2),
            "amplitude": uniform(states, (self._WAVES,), stream=3)
            * (self.amplitude / self._WAVES),
            "gain": uniform(states, (n_leads,), stream=4) * 2 - 1,
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x + _waves(params, x.shape[-1], self._rate(fs)).to(x.dtype)


@TRANSFORMS.register("powerline")
@dataclass(frozen=True, kw_only=True)
class Powerline(Augment):
    """Add mains hum: 50 or 60 Hz and two harmonics, with a gain of its own for each
    lead.

    Harmonics that the sampling rate cannot carry are left out.

    Attributes:
        amplitude: the largest amplitude of the fundamental; harmonic k has at most 1/k
            of it.
    """

    amplitude: float = 0.1

    _WAVES = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "amplitude", self.amplitude, 0.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        harmonic = torch.arange(1, self._WAVES + 1, device=states.device)
        mains = torch.where(uniform(states, (1,), stream=1) < 0.5, 50.0, 60.0)
        return {
            "frequency": mains * harmonic,
            "phase": uniform(states, (self._WAVES,), stream=2),
            "amplitude": uniform(states, (self._WAVES,), stream=3)
            * self.amplitude
            / harmonic,
            "gain": uniform(states, (n_leads,), stream=4) * 2 - 1,
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        carried = params["frequency"] < self._rate(fs) / 2
        params = {**params, "amplitude": params["amplitude"] * carried}
        return x + _waves(params, x.shape[-1], self._rate(fs)).to(x.dtype)


@TRANSFORMS.register("amplitude_scale")
@dataclass(frozen=True, kw_only=True)
class AmplitudeScale(Augment):
    """Multiply each record (or each lead) by a factor between ``1 / (1 + magnitude)``
    and ``1 + magnitude``.

    Growing and shrinking are equally likely.
    """

    magnitude: float = 0.3
    per_lead: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "magnitude", self.magnitude, 0.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        signed = uniform(states, (n_leads if self.per_lead else 1,), stream=1) * 2 - 1
        grown = signed.abs() * self.magnitude + 1
        return {"factor": torch.where(signed < 0, 1 / grown, grown)}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x * params["factor"][:, :, None].to(x.dtype)


@TRANSFORMS.register("lead_dropout")
@dataclass(frozen=True, kw_only=True)
class LeadDropout(Augment):
    """Set each lead to 0 with probability ``p_lead``; at least one lead of a record
    always stays.
    """

    p_lead: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "p_lead", self.p_lead, 0.0, 1.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        chance = uniform(states, (n_leads,), stream=1)
        return {
            "keep": (chance >= self.p_lead) | (chance == chance.amax(-1, keepdim=True))
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        return x.masked_fill(~params["keep"][:, :, None], 0.0)


@TRANSFORMS.register("time_mask")
@dataclass(frozen=True, kw_only=True)
class TimeMask(Augment):
    """Set one stretch of all leads to 0; its length is drawn between 0 and
    ``max_fraction`` of the valid samples.
    """

    max_fraction: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "max_fraction", self.max_fraction, 0.0, 1.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        return {
            "fraction": uniform(states, (), stream=1) * self.max_fraction,
            "place": uniform(states, (), stream=2),
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        start, count = valid_bounds(mask, x)
        length = (params["fraction"] * count).long()
        begin = start + (params["place"] * (count - length + 1)).long()
        time = torch.arange(x.shape[-1], device=x.device)
        hidden = (time >= begin[:, None]) & (time < (begin + length)[:, None])
        return x.masked_fill(hidden[:, None, :], 0.0)


@TRANSFORMS.register("time_shift")
@dataclass(frozen=True, kw_only=True)
class TimeShift(Augment):
    """Rotate the valid samples by up to ``max_seconds`` to either side; no beat is
    lost.
    """

    max_seconds: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self, "max_seconds", self.max_seconds, 0.0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        return {"seconds": (uniform(states, (), stream=1) * 2 - 1) * self.max_seconds}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        start, count = valid_bounds(mask, x)
        shift = (params["seconds"] * self._rate(fs)).round().long()
        time = torch.arange(x.shape[-1], device=x.device)[None, :]
        rotated = start[:, None] + (time - start[:, None] - shift[:, None]).remainder(
            count.clamp(min=1)[:, None]
        )
        # Padding stays where it is; the caller sets it to 0.
        return take_samples(x, rotated)


def _waves(params: Params, n_samples: int, fs: float) -> Tensor:
    """Return ``[B, n_leads, n_samples]``: the sum of each record's sinusoids times the
    gain of each lead.
    """
    time = torch.arange(n_samples, device=params["phase"].device) / fs
    columns = [params[name].unbind(1) for name in ("frequency", "phase", "amplitude")]
    total = torch.zeros_like(time)
    for frequency, phase, amplitude in zip(*columns, strict=True):
        total = (
            total
            + _sine(frequency[:, None] * time + phase[:, None]) * amplitude[:, None]
        )
    return params["gain"][:, :, None] * total[:, None, :]


def _sine(cycles: Tensor) -> Tensor:
    """Return sin(2 pi cycles) within 1e-5, by additions and multiplications only.

    ``torch.sin`` differs in its last bit between devices and between vector and scalar
    code, hence with the size of the batch; a polynomial does not.
    """
    folded = cycles - (cycles + 0.5).floor()  # [-0.5, 0.5)
    quarter = torch.where(
        folded.abs() > 0.25,
        torch.copysign(torch.full_like(folded, 0.5), folded) - folded,
        folded,
    )
    square = quarter * quarter
    # Taylor coefficients of sin(2 pi u) up to u**9; |u| <= 1/4.
    total = torch.full_like(square, 42.05869394489765)
    for coefficient in (
        -76.70585975306136,
        81.60524927607504,
        -41.34170224039975,
        6.283185307179586,
    ):
        total = total * square + coefficient
    return total * quarter


def _check_range(
    transform: Transform,
    option: str,
    value: float,
    low: float,
    high: float = float("inf"),
) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"The transform {transform.name!r} needs {option} between {low:g} and {high:g}; it was given {value!r}."
        )
