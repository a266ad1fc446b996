"""Synthesise one demo recording: rhythm, beats, heart vector, leads, noise."""

from __future__ import annotations

import math
from math import tau
from typing import Any

import numpy as np
from numpy.random import Generator

from ecgnb.data.demo.beats import (
    QRS,
    WAVES,
    Beat,
    P,
    bounds,
    ectopic_beat,
    sinus_beat,
)
from ecgnb.data.demo.lead_vectors import (
    electrode_field,
    lead_matrix,
    project,
    rotation,
)
from ecgnb.data.demo.noise import electrode_noise
from ecgnb.data.demo.patients import (
    DATASET,
    SIGNAL,
    Case,
    DemoConfig,
    Patient,
    generator,
    lognormal,
    plan_case,
)
from ecgnb.data.demo.rhythm import Rhythm, draw_breathing, make_rhythm
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12

#: Steps of the analogue-to-digital converter per millivolt.
ADC_PER_MV = 1000


def synthesise(index: int, config: DemoConfig | None = None) -> Recording:
    """Make recording ``index`` of a demo cohort.

    A heart vector is projected on electrodes (Dower's lead vectors) and leads are
    differences of electrode potentials, so III = II - I and aVR = -(I + II) / 2 up to
    the rounding of the converter. The result is a pure function of the index and the
    configuration without ``n_records``.

    Args:
        index: position in the cohort, from 0.
        config: of the cohort.

    Returns:
        The recording: ``signal`` float32 ``[12, n_samples]`` in mV in steps of 1 / 1000
        mV. ``metadata`` holds ``label`` (as mapped, sometimes wrong), ``true_label``,
        ``subtype``, ``borderline``, ``severity``, ``age``, ``sex``, ``beats`` (samples
        of R peaks, int64), ``ectopic`` (which of them are ventricular, bool) and
        ``waves`` (for ``"P"``, ``"QRS"`` and ``"T"`` first and last sample, int64 ``[n,
        2]``).

    Example:
        >>> recording = synthesise(0)
        >>> recording.signal.shape, recording.leads[:3]
        ((12, 5000), ('I', 'II', 'III'))
    """
    config = config or DemoConfig()
    case = plan_case(index, config)
    # The order of the draws below decides all signals: keep it.
    rng = generator(config, SIGNAL, index)
    breathing = draw_breathing(rng)
    rhythm = make_rhythm(case, config.seconds, breathing, rng)
    sinus = sinus_beat(case, _infarct_age(case, rng))
    ectopic = ectopic_beat(case)
    waves, bounds_of = _waves_in_time(rhythm, sinus, ectopic, rng)
    vector = render(waves, config.n_samples, config.fs)
    seconds = np.arange(config.n_samples) / config.fs
    if rhythm.fibrillates:
        vector += _fibrillatory_waves(seconds, case, rng)
    # The filling of the lungs changes the amplitude by 1 to 6 %.
    depth = rng.uniform(0.01, 0.06)
    vector *= 1 + depth * breathing.at(seconds)
    field = _patient_field(case.patient, rng)
    potentials = project(field, vector)
    noise = electrode_noise(seconds, breathing, rng)
    potentials += config.noise * noise
    leads = project(lead_matrix(), potentials)
    signal = to_adc(leads) / ADC_PER_MV
    return Recording(
        signal=signal.astype(np.float32),
        fs=config.fs,
        leads=STANDARD_12,
        record_id=case.record_id,
        dataset=DATASET,
        patient_id=case.patient.patient_id,
        metadata={
            "label": case.label,
            "true_label": case.true_label,
            "subtype": case.subtype,
            "borderline": case.borderline,
            "severity": case.severity,
            "age": case.patient.age,
            "sex": case.patient.sex,
            **_landmarks(rhythm, bounds_of, vector, config.fs),
        },
    )


def to_adc(signal: np.ndarray) -> np.ndarray:
    """Convert mV to steps of the converter, int16; -32768 is "no sample" in WFDB."""
    steps = np.rint(signal * float(ADC_PER_MV))
    return np.clip(steps, -32767, 32767).astype(np.int16)


def render(waves: np.ndarray, n_samples: int, fs: float) -> np.ndarray:
    """Add up waves to a heart vector.

    A wave is a raised cosine with its own rise and fall: smooth, and zero outside its
    bounds, so that onsets and ends are known exactly.

    Args:
        waves: ``[n, 6]``: peak, rise and fall in seconds, then x, y and z in mV.
        n_samples: samples to make.
        fs: sampling rate in Hz.

    Returns:
        float64 ``[3, n_samples]`` in mV.
    """
    peak, rise, fall = waves.T[:3, :, None]  # each [n, 1]
    first = np.ceil((peak - rise) * fs).astype(np.int64)
    longest = (rise + fall).max()
    width = math.ceil(longest * fs) + 1
    samples = first + np.arange(width)  # [n, width]
    offset = samples / fs - peak
    side = np.where(offset < 0, rise, fall)
    phase = offset / side
    shape = 0.5 + 0.5 * np.cos(np.pi * phase)
    inside = np.clip(samples, 0, n_samples - 1)
    shape[abs(phase) >= 1] = 0
    shape[samples != inside] = 0
    vector = np.empty((3, n_samples))
    for axis, amplitude in enumerate(waves.T[3:, :, None]):
        values = shape * amplitude  # mV
        vector[axis] = np.bincount(inside.ravel(), values.ravel(), n_samples)
    return vector


def _waves_in_time(
    rhythm: Rhythm, sinus: Beat, ectopic: Beat, rng: Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return all waves ``[n, 6]`` and the bounds of P, QRS and T ``[n, 2]`` in s."""
    templates, complexes = [], []
    for is_ectopic, interval in zip(rhythm.ectopic, rhythm.intervals, strict=True):
        beat = ectopic if is_ectopic else sinus
        templates.append(beat.at_interval(interval))
        complexes.append(beat.qrs)
    beats = np.array(templates)  # [n_beats, 10, 6]
    r_peaks = rhythm.beats[:, None]
    beats[:, :, 0] += r_peaks
    # Breathing and filling of the heart change each beat a little.
    gains = 1 + 0.015 * rng.standard_normal(len(beats))
    beats[:, :, 3:] *= gains[:, None, None]
    ventricles = beats[:, QRS.start :]  # P waves have times of their own
    atria = np.repeat(sinus.waves[None, P], len(rhythm.p_waves), axis=0)
    atria[:, :, 0] += rhythm.p_waves[:, None]
    t_wave = WAVES.index("T")
    bounds_of = {
        "P": bounds(atria),
        "QRS": r_peaks + np.array(complexes),
        "T": bounds(beats[:, t_wave : t_wave + 1]),
    }
    waves = np.concatenate([*atria, *ventricles])
    size = abs(waves[:, 3:]).max(axis=1)
    return waves[size > 0], bounds_of


def _infarct_age(case: Case, rng: Generator) -> float:
    """Draw the evolution of an infarct, 0 (fresh) to 1 (old).

    Other classes draw a number too, so that the generator is in a similar state.
    """
    if case.true_label == "MI":
        return rng.beta(0.7, 1.2)
    return 0.5 * rng.random()


def _fibrillatory_waves(seconds: np.ndarray, case: Case, rng: Generator) -> np.ndarray:
    """Return the vector of fibrillating atria ``[3, n_samples]`` in mV.

    4-9 Hz with changing frequency and amplitude; strongest in V1 and II.
    """
    direction = np.array([-0.30, 0.65, 0.75])
    direction += 0.12 * rng.standard_normal(3)
    hertz = rng.uniform(4.6, 8.0)
    log_size = rng.normal(np.log(0.042), 0.4)
    size = np.exp(np.clip(log_size, -3.9, -2.75))  # 0.02 to 0.064 mV
    size *= min(0.4 + 0.6 * case.severity, 1.1)
    shift = np.zeros_like(seconds)
    swell = np.ones_like(seconds)
    for slow in rng.uniform(0.15, 0.9, 3):
        angle = tau * slow * seconds
        depth = rng.uniform(0.3, 0.9)  # radians
        first, second = rng.uniform(0, tau, 2)
        shift += depth * np.sin(angle + first)
        swell += 0.2 * np.sin(angle + second)
    phase = tau * hertz * seconds + shift
    harmonic = np.sin(2 * phase + 0.6)
    pointed = np.sin(phase) + 0.28 * harmonic  # as in flutter
    waves = np.outer(direction, pointed)
    # A slower one in another direction: the vector turns.
    second_direction = direction[[1, 2, 0]] * 0.25
    slower = np.sin(0.93 * phase + 1)
    waves += np.outer(second_direction, slower)
    return size * swell * waves


def _patient_field(patient: Patient, rng: Generator) -> np.ndarray:
    """Return the lead field ``[9, 3]`` of a patient's electrodes.

    Position of the heart and of the electrodes vary a little between recordings.
    """
    turn = np.radians(2.0) * rng.standard_normal(3)
    angles = patient.angles + turn
    field = electrode_field() @ rotation(*angles)
    chest_gains = lognormal(rng, patient.chest_gains, 0.04, 6)
    field[3:] *= chest_gains[:, None]
    return field


def _landmarks(
    rhythm: Rhythm, bounds_of: dict[str, np.ndarray], vector: np.ndarray, fs: float
) -> dict[str, Any]:
    """Return waves and R peaks in samples; only waves that are completely recorded.

    The R peak is the sample at which the vector is longest.
    """
    waves = {}
    for name, times in bounds_of.items():
        samples = np.rint(times * fs).astype(np.int64)
        first, last = samples.T
        inside = (first >= 0) & (last < vector.shape[1])
        waves[name] = samples[inside]
        if name == "QRS":
            ectopic = rhythm.ectopic[inside]
    length = np.linalg.norm(vector, axis=0)
    peaks = []
    for start, stop in waves["QRS"]:
        complex_ = length[start : stop + 1]
        peaks.append(start + complex_.argmax())
    return {
        "beats": np.array(peaks, dtype=np.int64),
        "ectopic": ectopic,
        "waves": waves,
    }
