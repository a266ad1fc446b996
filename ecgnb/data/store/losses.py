"""What a preparation will lose: leads, recordings, seconds and sampling rate.

`expected_losses` is called before a store is made: by the preflight, by the preparation
(which prints it) and, from its record, by the report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecgnb.core.compatibility import Verdict
from ecgnb.core.errors import first_few
from ecgnb.data.config import PrepareConfig
from ecgnb.data.signal.quality import MAX_FS, MIN_FS, MIN_SECONDS
from ecgnb.data.signal.resample import PASS_BAND
from ecgnb.data.store.recording_facts import CohortFacts, Facts, facts_of, has_lead
from ecgnb.data.store.rows import with_leads

#: Seconds that may be cut off without a warning: a sample or two at any rate.
TOLERANCE_S = 0.05
#: Highest frequency in Hz that a diagnostic electrocardiogram of an adult needs
#: (Kligfield et al. 2007, AHA/ACC/HRS recommendations, part I).
DIAGNOSTIC_HZ = 150.0
#: Longest window in seconds that is proposed; the median length, where it is shorter.
MAX_PROPOSED_S = 60.0
#: Share of padding among the stored samples from which it is a warning.
MUCH_PADDING = 0.5


class _Cohort(NamedTuple):
    """Facts of a cohort beside the form that its recordings get.

    Attributes:
        facts: one per kind of recording.
        counts: float64 ``[n_kinds]``, recordings of each kind.
        config: the form, with leads.
        about: "about " where the counts are estimates.
    """

    facts: list[Facts]
    counts: np.ndarray
    config: PrepareConfig
    about: str

    @property
    def total(self) -> float:
        return float(self.counts.sum())

    @property
    def n_missing(self) -> np.ndarray:
        """Return how many of the leads each kind lacks, int64 ``[n_kinds]``."""
        numbers = []
        for facts in self.facts:
            has = [has_lead(facts.leads, lead) for lead in self.config.leads]
            numbers.append(has.count(False))
        return np.array(numbers, dtype=np.int64)

    @property
    def is_rejected(self) -> np.ndarray:
        """Return bool ``[n_kinds]``: it is rejected for its leads."""
        least = 1
        if self.config.missing_leads == "zero":
            least = len(self.config.leads)
        return self.n_missing >= least

    def number(self, selected: np.ndarray) -> str:
        """Return how many of all recordings are selected, as text."""
        n = self.counts[selected].sum()
        return f"{self.about}{n:,.0f} of {self.total:,.0f} recordings"


def expected_losses(manifest: pd.DataFrame, config: PrepareConfig) -> list[Verdict]:
    """Return what a preparation loses of the recordings of a manifest.

    Args:
        manifest: one row per recording; facts that it lacks are read from some files.
        config: form of the stored signals.

    Returns:
        One verdict per kind of loss: "fail" where the default for ``LEADS`` drops leads
        that most recordings share or where none can be used, "warn" for other losses,
        and a single "pass" where nothing is lost.

    Raises:
        StoreError: see `ecgnb.data.store.rows.with_leads`.
    """
    prepared = with_leads(manifest, config)
    cohort_facts = facts_of(manifest)
    facts = list(cohort_facts.counts)
    about = "about " if cohort_facts.is_estimate else ""
    counts = np.array([cohort_facts.counts[kind] for kind in facts])
    cohort = _Cohort(facts, counts, prepared, about)
    verdicts = list(_unreadable(cohort_facts))
    if facts:
        if not config.leads:
            verdicts += _dropped_leads(cohort)
        verdicts += _missing_leads(cohort)
        verdicts += _unusable(cohort)
        verdicts += _lost_seconds(cohort)
        verdicts += _changed_rate(cohort)
    return verdicts or [Verdict("pass", _nothing_lost(cohort))]


def lines_of(verdicts: list[Verdict]) -> list[str]:
    """Return the losses among verdicts, one line each, with what to do."""
    return [
        f"{verdict.finding} {verdict.what_to_do}"
        for verdict in verdicts
        if verdict.status != "pass"
    ]


def _nothing_lost(cohort: _Cohort) -> str:
    leads, config = cohort.config.leads, cohort.config
    seconds = config.target_samples / config.target_fs
    return (
        f"nothing is lost: {len(leads)} leads ({', '.join(leads)}), {seconds:g} s at "
        f"{config.target_fs:g} Hz"
    )


def _unreadable(facts: CohortFacts) -> Iterator[Verdict]:
    if facts.n_unreadable:
        yield Verdict(
            "warn",
            f"{facts.n_unreadable} of {facts.n_read} files that were read cannot be "
            f"used and will be rejected, such as: {facts.problem}",
            "Correct or remove them.",
        )


def _dropped_leads(cohort: _Cohort) -> Iterator[Verdict]:
    """Yield the loss by the default for LEADS, the leads that most recordings have."""
    kept, is_rejected = cohort.config.leads, cohort.is_rejected
    dropped: Counter[str] = Counter()  # in how many recordings a lead is lost
    by_set: Counter[tuple[str, ...]] = Counter()
    loses = np.zeros(len(cohort.facts), dtype=bool)
    for index, (facts, count) in enumerate(
        zip(cohort.facts, cohort.counts, strict=True)
    ):
        lost = [lead for lead in facts.leads if not has_lead(kept, lead)]
        if is_rejected[index]:  # it loses more than leads
            lost = []
        loses[index] = bool(lost)
        dropped.update(dict.fromkeys(lost, count))
        by_set[facts.leads] += count
    if not dropped:
        return
    # Of the sets of leads that are not kept whole, the most frequent one is proposed.
    for proposed, _ in by_set.most_common():
        if not all(has_lead(kept, lead) for lead in proposed):
            break
    have_it = np.array(
        [
            all(has_lead(facts.leads, lead) for lead in proposed)
            for facts in cohort.facts
        ]
    )
    n_have = cohort.counts[have_it].sum()
    others = cohort.number(~have_it)
    yield Verdict(
        "fail" if n_have > cohort.total / 2 else "warn",
        f"LEADS is empty, so only {', '.join(kept)} will be kept; "
        f"{cohort.number(loses)} lose other leads ({first_few(list(dropped), 12)}).",
        f"Set LEADS='{','.join(proposed)}' to keep these {len(proposed)} leads "
        f"({others} lack some of them: they are rejected, or get zeros with "
        f"MISSING_LEADS='zero'), or LEADS='{','.join(kept)}' if only these are wanted.",
    )


def _missing_leads(cohort: _Cohort) -> Iterator[Verdict]:
    config, rejected = cohort.config, cohort.is_rejected
    missing = []
    for lead in config.leads:
        if not all(has_lead(facts.leads, lead) for facts in cohort.facts):
            missing.append(lead)
    names = first_few(missing, 12)
    wanted = first_few(config.leads, 12)
    if rejected.all():
        yield Verdict(
            "fail",
            f"No recording has the leads {wanted}; their leads are "
            f"{first_few(cohort.facts[int(cohort.counts.argmax())].leads, 12)}.",
            "Set LEADS to leads that the recordings have, or MISSING_LEADS='zero'.",
        )
        return
    if rejected.any():
        advice = "Set MISSING_LEADS='zero' to keep them with zeros, or LEADS to others."
        if config.missing_leads == "zero":
            advice = "Set LEADS to leads that they have."
        yield Verdict(
            "warn",
            f"{cohort.number(rejected)} lack leads ({names}) and will be rejected.",
            advice,
        )
    padded = (cohort.n_missing > 0) & ~rejected
    if padded.any():
        yield Verdict(
            "warn",
            f"{cohort.number(padded)} lack leads ({names}), which will be zeros.",
            "A model can tell these recordings by it: if they differ in their labels, "
            "set MISSING_LEADS='reject' or LEADS to leads that all have.",
        )


def _unusable(cohort: _Cohort) -> Iterator[Verdict]:
    fs, seconds = _rates(cohort), _seconds(cohort)
    wrong_rate = (fs < MIN_FS) | (fs > MAX_FS)
    too_short = seconds < MIN_SECONDS
    if wrong_rate.any():
        yield Verdict(
            "warn",
            f"{cohort.number(wrong_rate)} have a rate outside {MIN_FS:g} to "
            f"{MAX_FS:g} Hz and will be rejected.",
            "Correct the rate in their headers.",
        )
    if too_short.any():
        yield Verdict(
            "warn",
            f"{cohort.number(too_short)} last less than {MIN_SECONDS:g} s and will be "
            "rejected.",
            "Remove them, or use longer recordings.",
        )


def _lost_seconds(cohort: _Cohort) -> Iterator[Verdict]:
    config = cohort.config
    seconds = _seconds(cohort)  # [n_kinds], NaN where unknown
    window = config.target_samples / config.target_fs
    surplus = np.nan_to_num(seconds - window)
    is_cut = surplus > TOLERANCE_S
    recorded = np.nansum(seconds * cohort.counts)
    if is_cut.any():
        lost = (surplus * cohort.counts)[is_cut].sum() / recorded
        part = "middle" if config.crop == "center" else "beginning"
        yield Verdict(
            "warn",
            f"{cohort.number(is_cut)} are longer than {window:.4g} s; only the {part} "
            f"{window:.4g} s of each will be used, {lost:.0%} of all that was recorded "
            "is lost.",
            _longer_window(cohort, seconds),
        )
    padding = np.nansum(np.clip(-surplus, 0, None) * cohort.counts)
    share = padding / (window * cohort.total)
    if share > MUCH_PADDING:
        yield Verdict(
            "warn",
            f"{cohort.number(surplus < -TOLERANCE_S)} are shorter than {window:.4g} s; "
            f"{share:.0%} of what will be stored is padding with zeros.",
            "Lower TARGET_SAMPLES.",
        )


def _longer_window(cohort: _Cohort, seconds: np.ndarray) -> str:
    """Return how to keep more of long recordings."""
    config = cohort.config
    fs = _proposed_fs(cohort)
    order = np.argsort(seconds)  # NaN last
    share = np.cumsum(cohort.counts[order]) / cohort.total
    median = seconds[order][np.searchsorted(share, 0.5)]
    n_samples = math.ceil(np.fmin(median, MAX_PROPOSED_S) * fs - 1e-6)
    also = "" if fs == config.target_fs else f" with TARGET_FS={fs:g}"
    advice = f"Set TARGET_SAMPLES={n_samples}{also} to use {n_samples / fs:.4g} s"
    if n_samples / fs <= config.target_samples / config.target_fs:  # few are long
        advice = "Raise TARGET_SAMPLES to use more of the long ones"
    other = "start" if config.crop == "center" else "center"
    return (
        f"{advice} (shorter recordings are padded), or CROP='{other}' for another "
        "part. A run uses one window of a recording: to use all of a very long one, "
        "divide it into files."
    )


def _changed_rate(cohort: _Cohort) -> Iterator[Verdict]:
    target = cohort.config.target_fs
    fs = _rates(cohort)
    slower, faster = fs < target, fs > target
    if slower.any():
        proposed = _most_frequent_fs(cohort, slower)
        yield Verdict(
            "warn",
            f"{cohort.number(slower)} have a lower rate than TARGET_FS ({proposed:g} "
            f"Hz in most of them) and will be upsampled to {target:g} Hz: more memory "
            "and time, no more information.",
            f"Set TARGET_FS={proposed:g}, and TARGET_SAMPLES to the seconds that you "
            f"want times {proposed:g}, unless START_FROM needs this rate.",
        )
    kept_hz = PASS_BAND * target / 2
    if faster.any() and kept_hz < DIAGNOSTIC_HZ:
        proposed = _most_frequent_fs(cohort, faster)
        yield Verdict(
            "warn",
            f"{cohort.number(faster)} have a higher rate ({proposed:g} Hz in most of "
            f"them); at {target:g} Hz frequencies above {kept_hz:g} Hz are lost.",
            f"A diagnostic electrocardiogram reaches {DIAGNOSTIC_HZ:g} Hz: set "
            f"TARGET_FS to {2 * DIAGNOSTIC_HZ / PASS_BAND:.0f} or more if its details "
            "matter.",
        )


def _proposed_fs(cohort: _Cohort) -> float:
    """Return TARGET_FS, or a lower rate that most of the recordings have."""
    slower = _rates(cohort) < cohort.config.target_fs
    if cohort.counts[slower].sum() <= cohort.total / 2:
        return cohort.config.target_fs
    return _most_frequent_fs(cohort, slower)


def _most_frequent_fs(cohort: _Cohort, selected: np.ndarray) -> float:
    counts: Counter[float] = Counter()
    for index in np.flatnonzero(selected):
        counts[cohort.facts[index].fs] += cohort.counts[index]
    return counts.most_common(1)[0][0]


def _rates(cohort: _Cohort) -> np.ndarray:
    return np.array([facts.fs for facts in cohort.facts])  # [n_kinds], Hz


def _seconds(cohort: _Cohort) -> np.ndarray:
    return np.array([facts.seconds for facts in cohort.facts])  # [n_kinds]
