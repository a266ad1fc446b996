"""Noise of an ECG recorder: baseline wander, muscle, mains and loose electrodes.

All amplitudes are in mV, all frequencies in Hz.
"""

from __future__ import annotations

from math import tau

import numpy as np

from ecgnb.data.demo.lead_vectors import N_ELECTRODES, project
from ecgnb.data.demo.patients import lognormal
from ecgnb.data.demo.rhythm import Breathing


def electrode_noise(
    n_samples: int, fs: float, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return the noise of each electrode, float64 ``[9, n_samples]`` in mV.

    Noise is drawn per electrode and not per lead. So noise of the left arm appears in
    I, III, aVL and, through Wilson's terminal, faintly in the chest leads.
    """
    seconds = np.arange(n_samples) / fs
    quality = float(np.exp(0.6 * np.clip(rng.standard_normal(), -2, 2.2)))
    noise = _wander(seconds, breathing, rng)
    noise += _muscle(n_samples, fs, rng)
    noise += _mains(seconds, rng)
    if rng.random() < 0.08:
        noise[int(rng.integers(N_ELECTRODES))] += _loose_contact(seconds, rng)
    return quality * noise


def _wander(
    seconds: np.ndarray, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return breathing, in phase on all electrodes, plus drift below 0.3 Hz."""
    size = lognormal(rng, 0.025, 0.7, N_ELECTRODES)
    size = size * rng.choice([-1, 1], N_ELECTRODES)
    harmonic = np.sin(2 * tau * breathing.hertz * seconds + 2 * breathing.phase)
    breath = breathing.at(seconds) + 0.25 * harmonic
    duration = len(seconds) / (len(seconds) - 1) * seconds[-1]
    orders = np.arange(1, max(2, int(0.3 * duration)) + 1)
    hertz = orders / duration
    phases = rng.uniform(0, tau, (N_ELECTRODES, len(orders)))
    scale = 0.03 * rng.standard_normal((N_ELECTRODES, len(orders))) / orders
    return size[:, None] * breath + _tones(seconds, 0.8 * hertz, scale, phases)


def _muscle(n_samples: int, fs: float, rng: np.random.Generator) -> np.ndarray:
    """Return electromyogram and amplifier noise: about 15 to 150 Hz, stronger on the
    limbs, with slowly changing amplitude.
    """
    hertz = np.fft.rfftfreq(n_samples, 1 / fs)
    high_pass = 1 / np.sqrt(1 + (20 / np.maximum(hertz, 0.5)) ** 4)
    shape = high_pass / np.sqrt(1 + (hertz / 90) ** 4)
    parts = rng.standard_normal((N_ELECTRODES, len(hertz), 2), dtype=np.float32)
    spectrum = parts.view(np.complex64)[..., 0] * shape.astype(np.float32)
    noise = np.fft.irfft(spectrum, n_samples, axis=1)
    noise /= noise.std()
    size = lognormal(rng, 0.004, 0.5, N_ELECTRODES)
    size = size * ([1.5] * 3 + [1.0] * 6)
    seconds = np.arange(n_samples) / fs
    slow = rng.uniform(0.05, 0.6, 2)
    phases = rng.uniform(0, tau, (N_ELECTRODES, 2))
    swell = 1 + _tones(seconds, slow, np.full((N_ELECTRODES, 2), 0.3), phases)
    return noise * size[:, None] * swell


def _mains(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return hum of 50 or 60 Hz with a third harmonic; faint in most recordings."""
    hertz = rng.choice([50.0, 60.0]) + 0.03 * rng.standard_normal()
    size = lognormal(rng, 0.002, 1.0) * rng.uniform(0.3, 1.0, N_ELECTRODES)
    phase = rng.uniform(0, tau) + 0.5 * rng.standard_normal(N_ELECTRODES)
    tones = hertz * np.array([1.0, 3.0])
    # A recorder filters out what is above half the sampling rate.
    audible = tones < 0.5 / seconds[1]
    scale = size[:, None] * [1.0, 0.15] * audible
    return _tones(seconds, tones, scale, np.stack([phase, 2 * phase], axis=1))


def _tones(
    seconds: np.ndarray, hertz: np.ndarray, scale: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Return sums of sines ``[9, n_samples]``.

    Args:
        seconds: times ``[n_samples]``.
        hertz: frequencies ``[k]``.
        scale: amplitudes ``[9, k]``.
        phase: phases ``[9, k]`` in radians.
    """
    # sin(a + b) = cos(b) sin(a) + sin(b) cos(a): k sines instead of 9 k
    angle = tau * hertz[:, None] * seconds
    sines = project(scale * np.cos(phase), np.sin(angle))
    return sines + project(scale * np.sin(phase), np.cos(angle))


def _loose_contact(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a jump of one electrode that decays through the recorder's high-pass."""
    start = rng.uniform(0, seconds[-1])
    after = np.maximum(seconds - start, 0)
    jump = rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
    decay = jump * np.exp(-after / rng.uniform(0.3, 1.2))  # time constant in seconds
    return np.where(seconds >= start, decay, 0) * np.tanh(after / 0.01)
