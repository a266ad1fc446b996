"""Synthetic recordings: consistent leads, known landmarks, reproducible signals."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from demo_signals import beats_of, lead

from ecgnb.data.demo.patients import DemoConfig
from ecgnb.data.demo.synthesise import render, synthesise, to_adc
from ecgnb.data.recording import Recording
from ecgnb.data.signal.leads import STANDARD_12


def test_render_draws_one_wave_with_its_bounds():
    vector = render(np.array([[0.5, 0.1, 0.2, 1.0, -2.0, 0.5]]), 100, 100.0)
    assert vector[:, 50] == pytest.approx([1.0, -2.0, 0.5])
    assert vector[0, 45] == pytest.approx(0.5) and vector[0, 60] == pytest.approx(
        0.5
    )  # half way up, half way down
    assert not vector[:, :41].any() and not vector[:, 70:].any()


def test_render_cuts_waves_at_the_ends_of_the_recording():
    wave = [0.02, 0.1, 0.1, 1.0, 1.0, 1.0]
    inside = render(np.array([[*wave], [0.5, 0.1, 0.1, 0, 0, 0]]), 60, 100.0)
    assert inside[0, 2] == pytest.approx(1.0) and inside[0, 0] == pytest.approx(
        0.5 + 0.5 * np.cos(0.2 * np.pi)
    )
    assert inside[0, 12:].max() == 0


@pytest.mark.parametrize("index", range(0, 40, 13))
def test_einthoven_and_goldberger_hold_to_the_converter_s_rounding(index):
    steps = np.rint(synthesise(index).signal.astype(np.float64) * 1000)
    one, two, three, avr, avl, avf = steps[:6]
    assert np.abs(three - (two - one)).max() <= 1
    assert np.abs(avr + (one + two) / 2).max() <= 1
    assert np.abs(avl - (one - two / 2)).max() <= 1.25
    assert np.abs(avf - (two - one / 2)).max() <= 1.25
    assert np.abs(avr + avl + avf).max() <= 1.5


def test_signal_is_what_the_file_will_hold():
    recording = synthesise(3)
    assert recording.signal.dtype == np.float32 and recording.signal.shape == (12, 5000)
    assert np.isfinite(recording.signal).all()
    np.testing.assert_array_equal(
        recording.signal, (to_adc(recording.signal) / 1000).astype(np.float32)
    )
    assert 0.2 < np.abs(recording.signal).max() < 8


def test_to_adc_saturates_and_never_writes_the_sign_of_a_missing_sample():
    assert to_adc(np.array([40.0, -40.0, 0.0014])).tolist() == [32767, -32767, 1]


def test_same_index_same_signal_whatever_the_size_of_the_cohort():
    small, large = DemoConfig(n_records=8, seed=5), DemoConfig(n_records=4000, seed=5)
    for index in (0, 7):
        np.testing.assert_array_equal(
            synthesise(index, small).signal, synthesise(index, large).signal
        )
    assert not np.array_equal(
        synthesise(0, small).signal, synthesise(0, DemoConfig(seed=6)).signal
    )


def test_label_noise_leaves_the_signal_alone():
    np.testing.assert_array_equal(
        synthesise(4).signal, synthesise(4, DemoConfig(label_noise=0.8)).signal
    )


def test_other_rates_and_lengths_show_the_same_heart():
    slow = synthesise(2, DemoConfig(fs=250, seconds=6, noise=0))
    assert slow.signal.shape == (12, 1500)
    beats = synthesise(2, DemoConfig(fs=500, seconds=6, noise=0)).metadata["beats"]
    assert np.abs(slow.metadata["beats"] * 2 - beats).max() <= 2


def test_r_peaks_are_where_the_signal_is_largest(by_subtype):
    for recording in by_subtype["sinus_rhythm"][:10]:
        size = np.linalg.norm(recording.signal, axis=0)
        for peak in recording.metadata["beats"]:
            window = size[max(0, peak - 100) : peak + 100]
            assert abs(int(np.argmax(window)) - min(peak, 100)) <= 10  # 20 ms


def test_waves_are_in_order_and_inside(by_subtype):
    for recording in by_subtype["sinus_rhythm"]:
        waves = recording.metadata["waves"]
        assert len(waves["P"]) >= len(waves["QRS"]) - 1 and len(waves["QRS"]) == len(
            recording.metadata["beats"]
        )
        for pairs in waves.values():
            assert (
                (pairs[:, 0] < pairs[:, 1]).all()
                and pairs.min() >= 0
                and pairs.max() < 5000
            )
        for peak, (start, stop) in zip(
            recording.metadata["beats"], waves["QRS"], strict=True
        ):
            assert start < peak < stop


def test_fibrillatory_waves_are_4_to_9_hz_and_strongest_in_v1(by_subtype):
    def band(recording: Recording, name: str) -> tuple[float, float]:
        keep = np.ones(5000, dtype=bool)
        for kind in ("QRS", "T"):
            for start, stop in recording.metadata["waves"][kind]:
                keep[max(0, start - 5) : stop + 5] = False
        keep[: recording.metadata["beats"][0]] = keep[
            recording.metadata["beats"][-1] :
        ] = False
        power = np.abs(np.fft.rfft(np.where(keep, lead(recording, name), 0))) ** 2
        hertz = np.fft.rfftfreq(5000, 1 / recording.fs)
        inside = (hertz >= 4) & (hertz <= 9)
        return float(power[inside].sum()), float(
            power[(hertz > 12) & (hertz < 40)].sum()
        )

    v1, v6 = (
        np.array([band(r, name) for r in by_subtype["af_controlled"]])
        for name in ("V1", "V6")
    )
    assert np.median(v1[:, 0] / v1[:, 1]) > 3
    assert np.median(v1[:, 0] / v6[:, 0]) > 3


def test_recordings_of_one_patient_share_their_shape():
    config = DemoConfig(noise=0.0, borderline=0.0)
    shapes = defaultdict(list)
    for index in range(120):
        recording = synthesise(index, config)
        if recording.metadata["subtype"] == "sinus_rhythm":
            beats = [
                np.median(beats_of(recording, name, 0.02, 0.1), axis=0)
                for name in STANDARD_12
            ]
            shapes[recording.patient_id].append(np.concatenate(beats))
    patients = [beats for beats in shapes.values() if len(beats) >= 2]
    same = [
        np.linalg.norm(beats[0] - beats[1]) / np.linalg.norm(beats[0])
        for beats in patients
    ]
    different = [
        np.linalg.norm(a[0] - b[0]) / np.linalg.norm(a[0])
        for a, b in itertools.pairwise(patients)
    ]
    assert len(patients) >= 8
    assert np.median(same) < 0.15 and np.median(different) > 2 * np.median(same)
