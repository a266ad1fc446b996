"""Noise of an ECG recorder: baseline wander, muscle, mains and loose electrodes.

All amplitudes are in mV, all frequencies in Hz.
"""

from __future__ import annotations

from math import tau

import numpy as np
from numpy.random import Generator

from ecgnb.data.demo.lead_vectors import N_ELECTRODES, project
from ecgnb.data.demo.patients import lognormal
from ecgnb.data.demo.rhythm import Breathing


def electrode_noise(
    seconds: np.ndarray, breathing: Breathing, rng: Generator
) -> np.ndarray:
    """Return the noise of each electrode, float64 ``[9, n_samples]`` in mV.

    Noise is drawn per electrode and not per lead. So noise of the left arm appears in
    I, III, aVL and, through Wilson's terminal, faintly in the chest leads.
    """
    quality = np.clip(rng.standard_normal(), -2, 2.2)
    scale = np.exp(0.6 * quality)
    noise = _wander(seconds, breathing, rng)
    noise += _muscle(seconds, rng)
    noise += _mains(seconds, rng)
    if rng.random() < 0.08:
        electrode = rng.integers(N_ELECTRODES)
        noise[electrode] += _loose_contact(seconds, rng)
    return scale * noise


def _wander(seconds: np.ndarray, breathing: Breathing, rng: Generator) -> np.ndarray:
    """Return breathing, in phase on all electrodes, plus drift below 0.3 Hz."""
    size = lognormal(rng, 0.025, 0.7, N_ELECTRODES)  # mV
    size *= rng.choice([-1, 1], N_ELECTRODES)
    angle = tau * breathing.hertz * seconds
    second_harmonic = np.sin(2 * angle + 2 * breathing.phase)
    breath = breathing.at(seconds) + 0.25 * second_harmonic

    n_samples = len(seconds)
    duration = n_samples / (n_samples - 1) * seconds[-1]
    n_tones = max(2, int(0.3 * duration))
    orders = np.arange(1, n_tones + 1)
    hertz = 0.8 * (orders / duration)
    shape = (N_ELECTRODES, n_tones)
    phases = rng.uniform(0, tau, shape)
    scale = 0.03 * rng.standard_normal(shape) / orders  # mV, falls with the frequency
    drift = _tones(seconds, hertz, scale, phases)
    return np.outer(size, breath) + drift


def _muscle(seconds: np.ndarray, rng: Generator) -> np.ndarray:
    """Return electromyogram and amplifier noise: about 15 to 150 Hz, stronger on the
    limbs, with slowly changing amplitude.
    """
    n_samples = len(seconds)
    hertz = np.fft.rfftfreq(n_samples, seconds[1])
    # Gains of second-order Butterworth filters at 20 and 90 Hz.
    low = 20 / np.maximum(hertz, 0.5)
    high = hertz / 90
    gain = 1 / np.sqrt(1 + low**4)
    gain /= np.sqrt(1 + high**4)
    # Real and imaginary components are neighbours.
    shape = (N_ELECTRODES, 2 * len(hertz))
    components = rng.standard_normal(shape, dtype=np.float32)
    spectrum = components.view(np.complex64)
    spectrum *= gain.astype(np.float32)
    noise = np.fft.irfft(spectrum, n_samples, axis=1)
    noise /= noise.std()

    size = lognormal(rng, 0.004, 0.5, N_ELECTRODES)  # mV
    size[:3] *= 1.5  # limbs
    slow = rng.uniform(0.05, 0.6, 2)  # Hz
    phases = rng.uniform(0, tau, (N_ELECTRODES, 2))
    depth = np.full_like(phases, 0.3)
    swell = 1 + _tones(seconds, slow, depth, phases)
    return noise * size[:, None] * swell


def _mains(seconds: np.ndarray, rng: Generator) -> np.ndarray:
    """Return hum of 50 or 60 Hz with a third harmonic; faint in most recordings."""
    hertz = rng.choice([50.0, 60.0])
    hertz += 0.03 * rng.standard_normal()
    size = lognormal(rng, 0.002, 1.0)  # mV
    size = size * rng.uniform(0.3, 1.0, N_ELECTRODES)
    common = rng.uniform(0, tau)
    phase = common + 0.5 * rng.standard_normal(N_ELECTRODES)
    phases = np.stack([phase, 2 * phase], axis=1)
    tones = hertz * np.array([1.0, 3.0])
    scale = np.outer(size, [1.0, 0.15])
    # A recorder filters out what is above half the sampling rate.
    nyquist = 0.5 / seconds[1]
    scale *= tones < nyquist
    return _tones(seconds, tones, scale, phases)


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
    cosines = project(scale * np.sin(phase), np.cos(angle))
    return sines + cosines


def _loose_contact(seconds: np.ndarray, rng: Generator) -> np.ndarray:
    """Return a jump of one electrode that decays through the recorder's high-pass."""
    start = rng.uniform(0, seconds[-1])
    after = np.maximum(seconds - start, 0)
    sign = rng.choice([-1, 1])
    jump = sign * rng.uniform(0.1, 0.5)  # mV
    time_constant = rng.uniform(0.3, 1.2)  # seconds
    decay = jump * np.exp(-after / time_constant)
    rise = np.tanh(after / 0.01)
    return np.where(seconds >= start, decay, 0) * rise
