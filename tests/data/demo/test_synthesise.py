"""The synthetic recordings are physically consistent, and each disease shows what it is
known by."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

from ecgnb.data.demo.beats import ectopic_beat, sinus_beat
from ecgnb.data.demo.lead_vectors import LEADS, electrode_field, lead_matrix, rotation
from ecgnb.data.demo.patients import SUBTYPES, DemoConfig, plan_case
from ecgnb.data.demo.synthesise import render, synthesise, to_adc
from ecgnb.data.recording import Recording

CLEAN = DemoConfig(noise=0.0)
N = 420


@pytest.fixture(scope="module")
def by_subtype() -> dict[str, list[Recording]]:
    """Noiseless recordings that are typical of what they show."""
    found = defaultdict(list)
    for index in range(N):
        if not plan_case(index, CLEAN).borderline:
            recording = synthesise(index, CLEAN)
            found[recording.metadata["subtype"]].append(recording)
    return found


def lead(recording: Recording, name: str) -> np.ndarray:
    """One lead in mV, its PQ level at zero."""
    return recording.signal[LEADS.index(name)].astype(np.float64)


def rr(recording: Recording) -> np.ndarray:
    return np.diff(recording.metadata["beats"]) / recording.fs


def rate(recording: Recording) -> float:
    return float(60 / rr(recording).mean())


def beats_of(
    recording: Recording, name: str, before: float, after: float
) -> np.ndarray:
    """Windows around sinus beats ``[n, samples]``, the sample before the QRS complex at
    zero."""
    signal, windows = lead(recording, name), []
    for (start, _), ectopic in zip(
        recording.metadata["waves"]["QRS"], recording.metadata["ectopic"], strict=True
    ):
        first, last = (
            start - round(before * recording.fs),
            start + round(after * recording.fs),
        )
        if not ectopic and first >= 0 and last < len(signal):
            windows.append(signal[first:last] - signal[start])
    return np.array(windows)


def st_level(recording: Recording, name: str) -> float:
    """Median level 60 ms after the J point against the onset of QRS, in mV."""
    signal = lead(recording, name)
    last = len(signal) - 1
    bounds = [
        (a, b + round(0.06 * recording.fs))
        for a, b in recording.metadata["waves"]["QRS"]
    ]
    return float(np.median([signal[b] - signal[a] for a, b in bounds if b <= last]))


def qrs_duration(recording: Recording) -> float:
    """Median time in s during which the leads move fast around a sinus beat; knows
    nothing of the generator."""
    speed = np.linalg.norm(
        np.gradient(
            recording.signal[[0, 1, 6, 7, 8, 9, 10, 11]].astype(np.float64), axis=1
        ),
        axis=0,
    )
    durations = []
    half, gap = round(0.16 * recording.fs), round(0.024 * recording.fs)
    for peak, ectopic in zip(
        recording.metadata["beats"], recording.metadata["ectopic"], strict=True
    ):
        if ectopic or not half <= peak < len(speed) - half:
            continue
        window = speed[peak - half : peak + half]
        # Runs of speed with no pause longer than 24 ms; P and T waves are slower or lie
        # apart.
        fast = np.flatnonzero(window > 0.12 * window.max())
        runs = np.split(fast, np.flatnonzero(np.diff(fast) > gap) + 1)
        run = next(run for run in runs if run[0] <= np.argmax(window) <= run[-1])
        durations.append((run[-1] - run[0]) / recording.fs)
    return float(np.median(durations))


def share(recordings: list[Recording], test) -> float:
    return float(np.mean([bool(test(recording)) for recording in recordings]))


def test_every_subtype_occurs(by_subtype):
    wanted = {name for kinds in SUBTYPES.values() for name in kinds}
    assert set(by_subtype) == wanted
    assert all(len(found) >= 5 for found in by_subtype.values())


def test_lead_vectors_are_dower_s_and_the_limb_electrodes_sum_to_zero():
    field = electrode_field()
    leads = lead_matrix() @ field
    np.testing.assert_allclose(field[:3].sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        leads[LEADS.index("I")], [0.632, -0.235, -0.059], atol=1e-12
    )
    np.testing.assert_allclose(
        leads[LEADS.index("V1")], [-0.515, 0.157, 0.917], atol=1e-12
    )
    np.testing.assert_allclose(
        leads[LEADS.index("aVR")], -(leads[0] + leads[1]) / 2, atol=1e-12
    )


def test_rotation_keeps_lengths_and_turns_as_documented():
    turn = rotation(0.3, -0.2, 0.1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        rotation(np.pi / 2, 0, 0) @ [1, 0, 0], [0, 1, 0], atol=1e-12
    )  # left -> feet
    np.testing.assert_allclose(
        rotation(0, np.pi / 2, 0) @ [1, 0, 0], [0, 0, 1], atol=1e-12
    )  # left -> front
    np.testing.assert_allclose(
        rotation(0, 0, np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12
    )  # feet -> front


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


@pytest.mark.parametrize("index", range(0, 40, 3))
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


def test_waves_lie_in_order_and_inside(by_subtype):
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


def test_normal_r_wave_grows_and_s_wave_shrinks_across_the_chest(by_subtype):
    r, s = ([], [])
    for recording in by_subtype["sinus_rhythm"]:
        beats = [
            np.median(beats_of(recording, f"V{n}", 0, 0.1), axis=0) for n in range(1, 7)
        ]
        r.append([beat.max() for beat in beats])
        s.append([-beat.min() for beat in beats])
    r, s = np.median(r, axis=0), np.median(s, axis=0)
    assert (np.diff(r[:4]) > 0).all() and s[1] > s[3] > s[5]
    assert s[0] > 2 * r[0] and r[5] > 2 * s[5]


def test_normal_p_and_t_are_upright_in_ii_and_inverted_in_avr(by_subtype):
    def upright(recording: Recording, name: str) -> bool:
        p = np.median(beats_of(recording, name, 0.16, 0), axis=0)
        t = np.median(beats_of(recording, name, 0, 0.4), axis=0)[
            round(0.15 * recording.fs) :
        ]
        return p.max() > 2 * -p.min() and t.max() > 2 * -t.min()

    assert share(by_subtype["sinus_rhythm"], lambda r: upright(r, "II")) > 0.95
    assert share(by_subtype["sinus_rhythm"], lambda r: upright(r, "aVR")) == 0


def test_qrs_is_wide_in_bundle_branch_block_and_narrow_otherwise(by_subtype):
    wide = [qrs_duration(r) for name in ("lbbb", "rbbb") for r in by_subtype[name]]
    narrow = [
        qrs_duration(r)
        for name in ("sinus_rhythm", "af_controlled", "sinus_tachycardia")
        for r in by_subtype[name]
    ]
    bounds = [
        np.diff(r.metadata["waves"]["QRS"]) / r.fs
        for name in ("lbbb", "rbbb")
        for r in by_subtype[name]
    ]
    assert min(pairs.min() for pairs in bounds) > 0.12
    assert np.mean(np.array(wide) > 0.12) >= 0.97 and np.median(wide) < 0.2
    assert max(narrow) < 0.11 and min(narrow) > 0.06


def test_left_bundle_branch_block_has_its_lead_pattern(by_subtype):
    def pattern(recording: Recording) -> bool:
        v1, v6 = (
            np.median(beats_of(recording, name, 0, 0.4), axis=0)
            for name in ("V1", "V6")
        )
        qrs, t = (
            slice(0, round(0.16 * recording.fs)),
            slice(round(0.22 * recording.fs), None),
        )
        deep_s = -v1[qrs].min() > 4 * max(v1[qrs].max(), 0)
        broad_r = v6[qrs].max() > 4 * -v6[qrs].min()
        discordant = v1[t].max() > 0.1 and v6[t].min() < -0.05
        return deep_s and broad_r and discordant

    assert share(by_subtype["lbbb"], pattern) >= 0.9


def test_right_bundle_branch_block_has_its_lead_pattern(by_subtype):
    def pattern(recording: Recording) -> bool:
        v1, v6 = (
            np.median(beats_of(recording, name, 0, 0.4), axis=0)
            for name in ("V1", "V6")
        )
        late, t = (
            slice(round(0.08 * recording.fs), round(0.17 * recording.fs)),
            slice(round(0.22 * recording.fs), None),
        )
        early = v1[: late.start]
        rsr = (
            v1[late].max() > 0.2
            and early.max() > 0.03
            and early.min() < 0.6 * early.max()
        )
        wide_s = v6[late].min() < -0.15
        return rsr and wide_s and v1[t].min() < -0.05

    assert share(by_subtype["rbbb"], pattern) >= 0.9


@pytest.mark.parametrize(
    ("subtype", "raised", "lowered"),
    [
        ("mi_anterior", ("V1", "V2", "V3", "V4"), ("III",)),
        ("mi_inferior", ("II", "III", "aVF"), ("aVL",)),
        ("mi_lateral", ("I", "aVL", "V5", "V6"), ("III",)),
    ],
)
def test_infarcts_raise_st_in_their_territory_and_lower_it_opposite(
    by_subtype, subtype, raised, lowered
):
    levels = {
        name: np.array([st_level(r, name) for r in by_subtype[subtype]])
        for name in raised + lowered
    }
    normal = {
        name: np.median([st_level(r, name) for r in by_subtype["sinus_rhythm"]])
        for name in raised + lowered
    }
    for name in raised:
        assert (
            np.median(levels[name]) > 0.1
            and np.median(levels[name]) > normal[name] + 0.06
        )
    contiguous = np.sum([levels[name] > 0.1 for name in raised], axis=0) >= 2
    assert contiguous.mean() >= 0.8
    for name in lowered:
        assert np.median(levels[name]) < -0.02


@pytest.mark.parametrize(
    ("subtype", "leads"),
    [
        ("mi_anterior", ("V2", "V3")),
        ("mi_inferior", ("III", "aVF")),
        ("mi_lateral", ("I", "V6")),
    ],
)
def test_infarcts_have_q_waves_in_their_territory(by_subtype, subtype, leads):
    def depth(recording: Recording, name: str) -> float:
        beat = np.median(beats_of(recording, name, 0, 0.1), axis=0)
        peak = int(np.argmax(beat)) if beat.max() > 0.1 else len(beat)
        return float(-beat[: max(peak, 1)].min())

    for name in leads:
        infarct = np.median([depth(r, name) for r in by_subtype[subtype]])
        assert infarct > 0.08 and infarct > 1.5 * np.median(
            [depth(r, name) for r in by_subtype["sinus_rhythm"]]
        )


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


def test_recordings_of_one_patient_share_their_shape():
    config = DemoConfig(noise=0.0, borderline=0.0)
    shapes = defaultdict(list)
    for index in range(120):
        recording = synthesise(index, config)
        if recording.metadata["subtype"] == "sinus_rhythm":
            beats = [
                np.median(beats_of(recording, name, 0.02, 0.1), axis=0)
                for name in LEADS
            ]
            shapes[recording.patient_id].append(np.concatenate(beats))
    patients = [found for found in shapes.values() if len(found) >= 2]
    same = [
        np.linalg.norm(found[0] - found[1]) / np.linalg.norm(found[0])
        for found in patients
    ]
    different = [
        np.linalg.norm(a[0] - b[0]) / np.linalg.norm(a[0])
        for a, b in itertools.pairwise(patients)
    ]
    assert len(patients) >= 8
    assert np.median(same) < 0.15 and np.median(different) > 2 * np.median(same)


def test_noise_is_of_the_size_of_real_recordings():
    spread, wander = [], []
    for index in range(40):
        noise = synthesise(index).signal - synthesise(index, CLEAN).signal
        spread.append(np.median(np.abs(np.diff(noise, axis=1))))
        slow = noise.reshape(12, 20, 250).mean(axis=2)
        wander.append(np.median(slow.std(axis=1)))
    assert 0.0005 < np.median(spread) < 0.02
    assert 0.01 < np.median(wander) < 0.1


def test_beat_templates_know_their_width_and_ectopic_beats_have_no_p():
    case = next(
        c
        for c in (plan_case(i, CLEAN) for i in range(200))
        if c.subtype == "lbbb" and not c.borderline
    )
    start, stop = sinus_beat(case, 0.0).qrs
    assert 0.12 < stop - start < 0.24
    assert (
        np.abs(ectopic_beat(case).waves[:2, 3:]).max() == 0
    )  # an ectopic beat has no P wave
