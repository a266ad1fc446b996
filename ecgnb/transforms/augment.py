"""Augmentation: random transforms, each changes a record with probability ``p``.

Amplitudes are in the signal's unit at this step of the pipeline: mV before a z-score,
standard deviations after it. With magnitude 0 every transform returns its input.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ecgnb.transforms.batching import take_samples, valid_bounds
from ecgnb.transforms.pipeline import TRANSFORMS, Params, Transform, bounded
from ecgnb.transforms.random import normal, record_states, uniform

#: Sinusoids of a baseline wander; mains frequency and its harmonics.
N_WAVES = 3
MIN_WANDER_HZ = 0.05


@dataclass(frozen=True, kw_only=True)
class Augment(Transform):
    """Base of the random transforms: draws which records are changed.

    A subclass defines ``_draw`` and ``_change``.

    Attributes:
        p: probability that a record is changed.
    """

    random: ClassVar[bool] = True

    p: float = bounded(0.5, low=0, high=1)

    @abstractmethod
    def _draw(self, states: Tensor, n_leads: int) -> Params:
        """Draw the parameters of each record from its state.

        Stream 0 of the state is used already.
        """

    @abstractmethod
    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        """Return all records of ``x`` ``[B, n_leads, n_samples]`` changed."""

    def sample(
        self,
        shape: Sequence[int],
        keys: Tensor,
        *,
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
    ) -> Params:
        """Draw ``"active"`` (bool ``[B]``) and ``_draw``; see `Transform.sample`."""
        states = record_states(keys, seed=seed, step=step, stream=stream)
        active = uniform(states, stream=0) < self.p
        n_leads = int(shape[-2])
        return {"active": active, **self._draw(states, n_leads)}

    def transform_batch(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        rows = params["active"].nonzero().squeeze(1)
        if len(rows) == 0:
            return x
        active = {name: value[rows] for name, value in params.items()}
        if mask is not None:
            mask = mask[rows]
        changed = self._change(x[rows], active, fs, mask)
        return x.index_copy(0, rows, changed)


@TRANSFORMS.register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Augment):
    """Add white noise with a standard deviation between 0 and ``sd`` per record."""

    sd: float = bounded(0.05, low=0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        # The state in place of the noise: 8 bytes per record, not a whole signal.
        return {"state": states, "sd": uniform(states, stream=1) * self.sd}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        shape = tuple(x.shape[1:])
        # One record at a time: the integers of the hash stay in the CPU cache.
        states = params["state"].split(1)
        noise = [normal(state, shape, stream=2) for state in states]
        scaled = torch.cat(noise) * params["sd"][:, None, None]
        return x + scaled.to(x.dtype)


@TRANSFORMS.register("baseline_wander")
@dataclass(frozen=True, kw_only=True)
class BaselineWander(Augment):
    """Add a slow drift: three sinusoids of 0.05 to ``max_frequency`` Hz, with one gain
    per lead.

    Attributes:
        amplitude: the largest total amplitude.
        max_frequency: in Hz.
    """

    amplitude: float = bounded(0.3, low=0)
    max_frequency: float = bounded(0.5, low=MIN_WANDER_HZ)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        span = self.max_frequency - MIN_WANDER_HZ
        amplitude = self.amplitude / N_WAVES
        return {
            "frequency": uniform(states, (N_WAVES,), 1) * span + MIN_WANDER_HZ,
            "phase": uniform(states, (N_WAVES,), 2),
            "amplitude": uniform(states, (N_WAVES,), 3) * amplitude,
            "gain": uniform(states, (n_leads,), 4) * 2 - 1,
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        drift = _waves(params, x.shape[-1], self.required_fs(fs))
        return x + drift.to(x.dtype)


@TRANSFORMS.register("powerline")
@dataclass(frozen=True, kw_only=True)
class Powerline(Augment):
    """Add mains hum: 50 or 60 Hz and two harmonics, with one gain per lead.

    Harmonics that are not below half the sampling rate are left out.

    Attributes:
        amplitude: the largest amplitude of the fundamental; harmonic k has at most 1/k
            of it.
    """

    amplitude: float = bounded(0.1, low=0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        harmonic = torch.arange(1, N_WAVES + 1, device=states.device)
        is_50_hz = uniform(states, (1,), 1) < 0.5
        mains = torch.where(is_50_hz, 50.0, 60.0)
        amplitude = uniform(states, (N_WAVES,), 3) * self.amplitude
        return {
            "frequency": mains * harmonic,
            "phase": uniform(states, (N_WAVES,), 2),
            "amplitude": amplitude / harmonic,
            "gain": uniform(states, (n_leads,), 4) * 2 - 1,
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        fs = self.required_fs(fs)
        below_nyquist = params["frequency"] < fs / 2
        params = {**params, "amplitude": params["amplitude"] * below_nyquist}
        hum = _waves(params, x.shape[-1], fs)
        return x + hum.to(x.dtype)


@TRANSFORMS.register("amplitude_scale")
@dataclass(frozen=True, kw_only=True)
class AmplitudeScale(Augment):
    """Multiply each record (or each lead) by a factor between ``1 / (1 + magnitude)``
    and ``1 + magnitude``; larger and smaller are equally likely.
    """

    magnitude: float = bounded(0.3, low=0)
    per_lead: bool = False

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        count = n_leads if self.per_lead else 1
        signed = uniform(states, (count,), stream=1) * 2 - 1
        larger = signed.abs() * self.magnitude + 1
        return {"factor": torch.where(signed < 0, 1 / larger, larger)}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        factor = params["factor"][:, :, None]  # [B, n_leads or 1, 1]
        return x * factor.to(x.dtype)


@TRANSFORMS.register("lead_dropout")
@dataclass(frozen=True, kw_only=True)
class LeadDropout(Augment):
    """Set each lead to 0 with probability ``p_lead``; at least one lead of a record
    always stays.
    """

    p_lead: float = bounded(0.2, low=0, high=1)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        number = uniform(states, (n_leads,), stream=1)
        largest = number.amax(-1, keepdim=True)
        return {"keep": (number >= self.p_lead) | (number == largest)}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        dropped = ~params["keep"]  # [B, n_leads]
        return x.masked_fill(dropped[:, :, None], 0.0)


@TRANSFORMS.register("time_mask")
@dataclass(frozen=True, kw_only=True)
class TimeMask(Augment):
    """Set one interval of all leads to 0, of up to ``max_fraction`` of the valid
    samples.
    """

    max_fraction: float = bounded(0.2, low=0, high=1)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        return {
            "fraction": uniform(states, (1,), stream=1) * self.max_fraction,
            "position": uniform(states, (1,), stream=2),
        }

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        start, count = valid_bounds(mask, x)
        length = (params["fraction"] * count).long()
        choices = count - length + 1
        begin = start + (params["position"] * choices).long()
        time = torch.arange(x.shape[-1], device=x.device)
        masked = (time >= begin) & (time < begin + length)  # [B, n_samples]
        return x.masked_fill(masked[:, None, :], 0.0)


@TRANSFORMS.register("time_shift")
@dataclass(frozen=True, kw_only=True)
class TimeShift(Augment):
    """Rotate the valid samples by up to ``max_seconds`` in either direction; no beat is
    lost.
    """

    max_seconds: float = bounded(0.5, low=0)

    def _draw(self, states: Tensor, n_leads: int) -> Params:
        signed = uniform(states, (1,), stream=1) * 2 - 1
        return {"seconds": signed * self.max_seconds}

    def _change(
        self, x: Tensor, params: Params, fs: float | None, mask: Tensor | None
    ) -> Tensor:
        start, count = valid_bounds(mask, x)
        shift = params["seconds"] * self.required_fs(fs)
        shift = shift.round().long()  # samples
        time = torch.arange(x.shape[-1], device=x.device)
        # Padding also moves; the caller sets it to 0.
        position = (time - start - shift).remainder(count.clamp(min=1))
        return take_samples(x, start + position)


def _waves(params: Params, n_samples: int, fs: float) -> Tensor:
    """Return ``[B, n_leads, n_samples]``: each record's sum of sinusoids times the gain
    of each lead.
    """
    gain = params["gain"]  # [B, n_leads]
    time = torch.arange(n_samples, device=gain.device) / fs  # seconds
    total = torch.zeros_like(time)
    names = ("frequency", "phase", "amplitude")
    columns = [params[name].split(1, dim=1) for name in names]  # of [B, 1]
    for frequency, phase, amplitude in zip(*columns, strict=True):
        cycles = frequency * time + phase
        total = total + _sine(cycles) * amplitude
    return gain[:, :, None] * total[:, None, :]


def _sine(cycles: Tensor) -> Tensor:
    """Return sin(2 pi cycles) within 1e-5, by additions and multiplications only.

    The last bit of ``torch.sin`` differs between devices and between vector and scalar
    code, hence with the batch size; that of a polynomial does not.
    """
    folded = cycles - (cycles + 0.5).floor()  # [-0.5, 0.5)
    half = torch.copysign(torch.full_like(folded, 0.5), folded)
    is_outer = folded.abs() > 0.25
    quarter = torch.where(is_outer, half - folded, folded)
    square = quarter * quarter
    # Taylor coefficients of sin(2 pi u) up to u**9; |u| <= 1/4.
    total = torch.full_like(square, 42.05869394489765)
    total = total * square - 76.70585975306136
    total = total * square + 81.60524927607504
    total = total * square - 41.34170224039975
    total = total * square + 6.283185307179586
    return total * quarter
