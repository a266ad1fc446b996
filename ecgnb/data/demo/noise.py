"""What an electrocardiograph picks up besides the heart: breathing, skin, muscle, mains
and loose electrodes.
"""

from __future__ import annotations

import numpy as np

from ecgnb.data.demo.lead_vectors import project
from ecgnb.data.demo.rhythm import Breathing

N_ELECTRODES = 9


def electrode_noise(
    n_samples: int, fs: float, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return the noise at each electrode, float64 ``[9, n_samples]`` in mV.

    Drawn for electrodes and not for leads, so a noisy left arm is seen in I, III, aVL
    and, through Wilson's terminal, faintly in the chest leads, as it is at the bedside.
    """
    seconds = np.arange(n_samples) / fs
    quality = float(np.exp(0.6 * np.clip(rng.standard_normal(), -2, 2.2)))
    noise = _wander(seconds, breathing, rng) + _muscle(n_samples, fs, rng)
    noise += _mains(seconds, rng)
    if rng.random() < 0.08:
        noise[int(rng.integers(N_ELECTRODES))] += _loose_contact(seconds, rng)
    return quality * noise


def breathing_gain(
    seconds: np.ndarray, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Return how the lungs scale the heart vector, about 1, ``[n_samples]``."""
    return 1 + rng.uniform(0.01, 0.06) * breathing.at(seconds)


def draw_breathing(rng: np.random.Generator) -> Breathing:
    """Draw 9 to 24 breaths a minute."""
    return Breathing(
        hertz=float(rng.uniform(0.15, 0.4)), phase=float(rng.uniform(0, 2 * np.pi))
    )


def _wander(
    seconds: np.ndarray, breathing: Breathing, rng: np.random.Generator
) -> np.ndarray:
    """Breathing, the same in time for all electrodes, and a slow drift of each skin
    contact below 0.3 Hz.
    """
    size = (
        0.025
        * np.exp(0.7 * rng.standard_normal(N_ELECTRODES))
        * rng.choice([-1, 1], N_ELECTRODES)
    )
    breath = breathing.at(seconds) + 0.25 * np.sin(
        4 * np.pi * breathing.hertz * seconds + 2 * breathing.phase
    )
    duration = len(seconds) / (len(seconds) - 1) * seconds[-1]
    waves = np.arange(1, max(2, int(0.3 * duration)) + 1) / duration
    phases = rng.uniform(0, 2 * np.pi, (N_ELECTRODES, len(waves)))
    scale = (
        0.03
        * rng.standard_normal((N_ELECTRODES, len(waves)))
        / np.arange(1, len(waves) + 1)
    )
    return size[:, None] * breath + _tones(seconds, 0.8 * waves, scale, phases)


def _muscle(n_samples: int, fs: float, rng: np.random.Generator) -> np.ndarray:
    """Electromyogram: noise from 15 to 150 Hz that swells and fades, more on the limbs;
    plus the amplifier's own.
    """
    hertz = np.fft.rfftfreq(n_samples, 1 / fs)
    shape = (
        1
        / np.sqrt(1 + (20 / np.maximum(hertz, 0.5)) ** 4)
        / np.sqrt(1 + (hertz / 90) ** 4)
    )
    parts = rng.standard_normal((N_ELECTRODES, len(hertz), 2), dtype=np.float32)
    noise = np.fft.irfft(
        parts.view(np.complex64)[..., 0] * shape.astype(np.float32), n_samples, axis=1
    )
    noise /= noise.std()
    size = (
        0.004
        * np.exp(0.5 * rng.standard_normal(N_ELECTRODES))
        * ([1.5] * 3 + [1.0] * 6)
    )
    seconds = np.arange(n_samples) / fs
    swell = 1 + _tones(
        seconds,
        rng.uniform(0.05, 0.6, 2),
        np.full((9, 2), 0.3),
        rng.uniform(0, 2 * np.pi, (9, 2)),
    )
    return noise * size[:, None] * swell


def _mains(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hum of 50 or 60 Hz with a third harmonic; most recordings have next to none."""
    hertz = rng.choice([50.0, 60.0]) + 0.03 * rng.standard_normal()
    size = 0.002 * np.exp(rng.standard_normal()) * rng.uniform(0.3, 1.0, N_ELECTRODES)
    phase = rng.uniform(0, 2 * np.pi) + 0.5 * rng.standard_normal(N_ELECTRODES)
    tones = hertz * np.array([1.0, 3.0])
    audible = (
        tones < 0.5 / seconds[1]
    )  # what lies above half the sampling rate was filtered out before sampling
    return _tones(
        seconds,
        tones,
        size[:, None] * [1.0, 0.15] * audible,
        np.stack([phase, 2 * phase], axis=1),
    )


def _tones(
    seconds: np.ndarray, hertz: np.ndarray, scale: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Add up sines: frequencies ``[k]``, sizes and phases ``[9, k]``; returns ``[9,
    n_samples]``.
    """
    turn = 2 * np.pi * hertz[:, None] * seconds
    return project(scale * np.cos(phase), np.sin(turn)) + project(
        scale * np.sin(phase), np.cos(turn)
    )


def _loose_contact(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One electrode moves: a jump that decays as the amplifier's high-pass filter lets
    it.
    """
    start = rng.uniform(0, seconds[-1])
    after = np.maximum(seconds - start, 0)
    jump = rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
    return np.where(
        seconds >= start, jump * np.exp(-after / rng.uniform(0.3, 1.2)), 0
    ) * np.tanh(after / 0.01)
