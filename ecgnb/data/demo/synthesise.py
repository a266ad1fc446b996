"""One synthetic recording: rhythm and beats make a heart vector, the chest makes twelve
leads of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgnb.data.demo.beats import QRS, Beat, P, ectopic_beat, sinus_beat
from ecgnb.data.demo.lead_vectors import (
    LEADS,
    electrode_field,
    lead_matrix,
    project,
    rotation,
)
from ecgnb.data.demo.noise import breathing_gain, draw_breathing, electrode_noise
from ecgnb.data.demo.patients import (
    DATASET,
    SIGNAL,
    Case,
    DemoConfig,
    Patient,
    generator,
    plan_case,
)
from ecgnb.data.demo.rhythm import ECTOPIC, Rhythm, make_rhythm
from ecgnb.data.recording import Recording

#: Steps of the analogue-to-digital converter a millivolt.
ADC_PER_MV = 1000


def synthesise(index: int, config: DemoConfig | None = None) -> Recording:
    """Make recording ``index`` of a demo cohort.

    A single heart vector is projected on electrodes (Dower's lead vectors) and the
    leads are differences of electrode potentials, so III = II - I and aVR = -(I + II) /
    2 up to the rounding of the converter. The result is a pure function of the index
    and the configuration, ``n_records`` aside.

    Args:
        index: position in the cohort, from 0.
        config: what the cohort is made of.

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
    rng = generator(config, SIGNAL, index)
    breathing = draw_breathing(rng)
    rhythm = make_rhythm(case, config.seconds, breathing, rng)
    beats = (sinus_beat(case, _evolution(case, rng)), ectopic_beat(case))
    events, bounds = _lay_out(rhythm, beats, rng)
    vector = render(events, config.n_samples, config.fs)
    seconds = np.arange(config.n_samples) / config.fs
    if rhythm.fibrillates:
        vector += _fibrillatory_waves(seconds, case, rng)
    vector *= breathing_gain(seconds, breathing, rng)
    potentials = project(_field(case.patient, rng), vector)
    potentials += config.noise * electrode_noise(
        config.n_samples, config.fs, breathing, rng
    )
    steps = to_adc(project(lead_matrix(), potentials))
    metadata = _metadata(case) | _landmarks(rhythm, bounds, vector, config.fs)
    return Recording(
        signal=(steps / ADC_PER_MV).astype(np.float32),
        fs=config.fs,
        leads=LEADS,
        record_id=case.record_id,
        dataset=DATASET,
        patient_id=case.patient.patient_id,
        metadata=metadata,
    )


def to_adc(signal: np.ndarray) -> np.ndarray:
    """Return a signal in mV as steps of the converter, int16; -32768 stays free, it
    means "no sample" in WFDB.
    """
    return np.clip(np.rint(signal * float(ADC_PER_MV)), -32767, 32767).astype(np.int16)


def render(events: np.ndarray, n_samples: int, fs: float) -> np.ndarray:
    """Add up waves to a heart vector.

    A wave is a raised cosine with its own rise and fall: smooth, and zero outside its
    bounds, so that onsets and ends are known exactly.

    Args:
        events: ``[n, 6]``: peak, rise and fall in seconds, then x, y and z in mV.
        n_samples: samples to make.
        fs: samples a second.

    Returns:
        float64 ``[3, n_samples]`` in mV.
    """
    first = np.ceil((events[:, 0] - events[:, 1]) * fs).astype(np.int64)
    width = int(np.ceil((events[:, 1] + events[:, 2]).max() * fs)) + 1
    samples = first[:, None] + np.arange(width)
    offset = samples / fs - events[:, 0:1]
    phase = offset / np.where(offset < 0, events[:, 1:2], events[:, 2:3])
    shape = np.where(np.abs(phase) < 1, 0.5 + 0.5 * np.cos(np.pi * phase), 0.0)
    shape[(samples < 0) | (samples >= n_samples)] = 0
    where = np.clip(samples, 0, n_samples - 1).ravel()
    return np.stack(
        [
            np.bincount(where, (shape * events[:, axis, None]).ravel(), n_samples)
            for axis in (3, 4, 5)
        ]
    )


def _lay_out(
    rhythm: Rhythm, beats: tuple[Beat, Beat], rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Place the waves of all beats in time; return events ``[n, 6]`` and the bounds of
    P, QRS and T in seconds.
    """
    placed = [
        beats[kind].at_interval(rr)
        for kind, rr in zip(rhythm.kinds, rhythm.intervals, strict=True)
    ]
    ventricles = np.stack(placed)[:, QRS.start :]
    ventricles[:, :, 0] += rhythm.beats[:, None]
    ventricles[:, :, 3:] *= 1 + 0.015 * rng.standard_normal((len(placed), 1, 1))
    atria = np.repeat(beats[0].waves[None, P], len(rhythm.p_waves), axis=0)
    atria[:, :, 0] += rhythm.p_waves[:, None]
    events = np.concatenate([atria.reshape(-1, 6), ventricles.reshape(-1, 6)])
    qrs = rhythm.beats[:, None] + np.array([beats[kind].qrs for kind in rhythm.kinds])
    bounds = {"P": _extent(atria), "QRS": qrs, "T": _extent(ventricles[:, 6:7])}
    return events[np.abs(events[:, 3:]).max(axis=1) > 0], bounds


def _extent(waves: np.ndarray) -> np.ndarray:
    """First onset and last end of waves ``[n, k, 6]``, in seconds ``[n, 2]``."""
    return np.stack(
        [
            (waves[:, :, 0] - waves[:, :, 1]).min(1),
            (waves[:, :, 0] + waves[:, :, 2]).max(1),
        ],
        axis=1,
    )


def _evolution(case: Case, rng: np.random.Generator) -> float:
    """How far an infarct has evolved; drawn for every recording, so that its random
    numbers do not shift others.
    """
    return (
        float(rng.beta(0.7, 1.2))
        if case.true_label == "MI"
        else 0.5 * float(rng.random())
    )


def _fibrillatory_waves(
    seconds: np.ndarray, case: Case, rng: np.random.Generator
) -> np.ndarray:
    """Atria in fibrillation, 4-9 Hz, wandering in rate and size; strongest in V1 and
    II. ``[3, n_samples]`` in mV.
    """
    direction = np.array([-0.30, 0.65, 0.75]) + 0.12 * rng.standard_normal(3)
    hertz = rng.uniform(4.6, 8.0)
    size = float(np.exp(np.clip(rng.normal(np.log(0.042), 0.4), -3.9, -2.75))) * min(
        0.4 + 0.6 * case.severity, 1.1
    )
    turn = np.zeros_like(seconds)
    swell = np.ones_like(seconds)
    for slow in rng.uniform(0.15, 0.9, 3):
        turn += rng.uniform(0.3, 0.9) * np.sin(
            2 * np.pi * slow * seconds + rng.uniform(0, 2 * np.pi)
        )
        swell += 0.2 * np.sin(2 * np.pi * slow * seconds + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * hertz * seconds + turn
    second = direction[[1, 2, 0]] * 0.25
    return (
        size
        * swell
        * (
            direction[:, None] * _sharpened(phase)
            + second[:, None] * np.sin(0.93 * phase + 1)
        )
    )


def _sharpened(phase: np.ndarray) -> np.ndarray:
    """Return a wave with pointed crests, as flutter-like atrial waves have."""
    return np.sin(phase) + 0.28 * np.sin(2 * phase + 0.6)


def _field(patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Potentials of the patient's electrodes for a unit heart vector ``[9, 3]``;
    replaced a little each time.
    """
    field = electrode_field() @ rotation(
        *(patient.angles + np.radians(2.0) * rng.standard_normal(3))
    )
    field[3:] *= (patient.chest_gains * np.exp(0.04 * rng.standard_normal(6)))[:, None]
    return field


def _metadata(case: Case) -> dict[str, Any]:
    return {
        "label": case.label,
        "true_label": case.true_label,
        "subtype": case.subtype,
        "borderline": case.borderline,
        "severity": case.severity,
        "age": case.patient.age,
        "sex": case.patient.sex,
    }


def _landmarks(
    rhythm: Rhythm, bounds: dict[str, np.ndarray], vector: np.ndarray, fs: float
) -> dict[str, Any]:
    """Turn times into samples, keeping what lies wholly inside; the R peak is where the
    vector is longest.
    """
    last = vector.shape[1] - 1
    samples = {
        name: np.rint(times * fs).astype(np.int64) for name, times in bounds.items()
    }
    inside = {
        name: (pairs[:, 0] >= 0) & (pairs[:, 1] <= last)
        for name, pairs in samples.items()
    }
    length = np.linalg.norm(vector, axis=0)
    complexes = samples["QRS"][inside["QRS"]]
    peaks = [
        start + int(np.argmax(length[start : stop + 1])) for start, stop in complexes
    ]
    return {
        "beats": np.array(peaks, dtype=np.int64),
        "ectopic": rhythm.kinds[inside["QRS"]] == ECTOPIC,
        "waves": {name: pairs[inside[name]] for name, pairs in samples.items()},
    }
