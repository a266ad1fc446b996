"""Rhythms: rates, intervals, fibrillation, ectopic beats and conduction blocks."""

from __future__ import annotations

import numpy as np
from demo_signals import beats_of, rate, rr

from ecgnb.data.recording import Recording


def test_normal_rate_pr_and_qt(by_subtype):
    for recording in by_subtype["sinus_rhythm"]:
        assert 50 < rate(recording) < 100
        waves = recording.metadata["waves"]
        starts = waves["QRS"][:, 0]
        pr = [
            starts[starts > onset].min() - onset
            for onset in waves["P"][:, 0]
            if (starts > onset).any()
        ]
        assert 0.11 < np.median(pr) / recording.fs < 0.2
        ends = waves["T"][:, 1]
        qt = (
            np.median(
                [
                    ends[ends > start].min() - start
                    for start in starts
                    if (ends > start).any()
                ]
            )
            / recording.fs
        )
        assert 0.35 < qt / np.sqrt(rr(recording).mean()) < 0.48


def p_energy(recording: Recording) -> float:
    """How much of the 140 ms before QRS in II repeats from beat to beat, mV."""
    windows = beats_of(recording, "II", 0.16, -0.02)
    mean = windows.mean(axis=0)
    return float(np.ptp(mean))


def test_atrial_fibrillation_is_irregular_without_memory_and_has_no_p(by_subtype):
    fibrillating = by_subtype["af_controlled"] + by_subtype["af_rapid"]
    variation = np.array([rr(r).std() / rr(r).mean() for r in fibrillating])
    regular = np.array([rr(r).std() / rr(r).mean() for r in by_subtype["sinus_rhythm"]])
    assert np.median(variation) > 0.15 and variation.min() > 0.07
    assert np.median(regular) < 0.05
    pairs = np.concatenate(
        [np.stack([x[:-1], x[1:]], axis=1) - x.mean() for x in map(rr, fibrillating)]
    )
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.2
    assert all(len(r.metadata["waves"]["P"]) == 0 for r in fibrillating)
    assert np.median([p_energy(r) for r in fibrillating]) < 0.6 * np.median(
        [p_energy(r) for r in by_subtype["sinus_rhythm"]]
    )


def test_ventricular_beats_are_premature_wide_and_followed_by_a_full_pause(by_subtype):
    for recording in by_subtype["pvc"]:
        ectopic = recording.metadata["ectopic"]
        beats = recording.metadata["beats"]
        assert ectopic.any()
        usual = np.median(np.diff(recording.metadata["waves"]["P"][:, 0]))
        for k in np.flatnonzero(ectopic):
            if 0 < k < len(beats) - 1 and not ectopic[k - 1] and not ectopic[k + 1]:
                whole = (beats[k + 1] - beats[k - 1]) / 2
                assert (
                    beats[k] - beats[k - 1]
                    < 0.87 * whole
                    < whole
                    < beats[k + 1] - beats[k]
                )
                assert 0.8 * usual < 2 * whole and whole < 1.25 * usual
        widths = (
            np.diff(recording.metadata["waves"]["QRS"], axis=1)[:, 0] / recording.fs
        )
        assert widths[ectopic].min() > 0.14 > 0.125 > widths[~ectopic].max()


def test_first_degree_block_has_a_long_pr(by_subtype):
    for recording in by_subtype["av_block_1"]:
        starts = recording.metadata["waves"]["QRS"][:, 0]
        onsets = recording.metadata["waves"]["P"][:, 0]
        pr = [
            starts[starts > onset].min() - onset
            for onset in onsets
            if (starts > onset).any()
        ]
        assert 0.2 < np.median(pr) / recording.fs < 0.34


def test_second_degree_block_drops_beats(by_subtype):
    for recording in by_subtype["av_block_2"]:
        intervals = rr(recording)
        p_intervals = np.diff(recording.metadata["waves"]["P"][:, 0]) / recording.fs
        assert intervals.max() > 1.45 * np.median(p_intervals)  # a pause
        assert (
            p_intervals.std() / p_intervals.mean() < 0.15
        )  # while the sinus node goes on
        assert len(recording.metadata["waves"]["P"]) > len(recording.metadata["beats"])


def test_tachycardia_and_bradycardia(by_subtype):
    assert all(100 < rate(r) < 175 for r in by_subtype["sinus_tachycardia"])
    assert all(30 < rate(r) < 60 for r in by_subtype["sinus_bradycardia"])
