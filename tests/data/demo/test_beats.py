"""Beat templates: the signs by which each disease is recognised in the leads."""

from __future__ import annotations

import numpy as np
import pytest
from demo_signals import CLEAN, beats_of, lead, qrs_duration, share

from ecgnb.data.demo.beats import ectopic_beat, sinus_beat
from ecgnb.data.demo.patients import plan_case
from ecgnb.data.recording import Recording


def test_left_bundle_branch_block_is_wide_and_ectopic_beats_have_no_p():
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


def st_level(recording: Recording, name: str) -> float:
    """Median level 60 ms after the J point against the onset of QRS, in mV."""
    signal = lead(recording, name)
    last = len(signal) - 1
    bounds = [
        (a, b + round(0.06 * recording.fs))
        for a, b in recording.metadata["waves"]["QRS"]
    ]
    return float(np.median([signal[b] - signal[a] for a, b in bounds if b <= last]))


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
