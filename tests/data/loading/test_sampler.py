from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.sampler import (
    balanced_weights,
    count_batches,
    epoch_order,
    mix,
    patient_order,
    rank_slice,
    window_starts,
)

on_a_busy_machine = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_order_is_golden() -> None:
    """Literal orders: they must stay the same for ever, or old checkpoints go on with
    other batches."""
    assert epoch_order(8, seed=0, epoch=0).tolist() == [1, 4, 6, 0, 2, 3, 5, 7]
    assert epoch_order(8, seed=0, epoch=1).tolist() == [7, 2, 1, 3, 5, 6, 4, 0]
    assert epoch_order(8, seed=1, epoch=0).tolist() == [7, 0, 5, 1, 4, 6, 2, 3]
    weights = np.array([0, 1, 1, 1, 1, 1, 1, 5.0])
    assert epoch_order(8, seed=0, epoch=0, weights=weights).tolist() == [
        6,
        4,
        7,
        7,
        4,
        7,
        5,
        7,
    ]
    assert epoch_order(4, seed=3, epoch=9, shuffle=False).tolist() == [0, 1, 2, 3]


def test_mix_is_golden_and_spreads() -> None:
    assert (mix(0), mix(1, 2, 3), mix(3, 2, 1)) == (
        8147104208329303767,
        7510213797696614745,
        7716143592125757362,
    )
    mixed = {mix(seed, step) for seed in range(30) for step in range(30)}
    assert len(mixed) == 900
    assert all(0 <= number < 2**63 for number in mixed)
    assert abs(np.mean([number / 2**63 for number in mixed]) - 0.5) < 0.03


@on_a_busy_machine
@given(n=st.integers(1, 300), seed=st.integers(0, 2**62), epoch=st.integers(0, 1000))
def test_shuffling_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed=seed, epoch=epoch))


def test_every_position_is_equally_likely() -> None:
    """Chi-square of record 0's place over 4000 epochs, ten places: below the 99.9 %
    quantile of 9 degrees."""
    places = [
        int(np.flatnonzero(epoch_order(10, seed=5, epoch=epoch) == 0)[0])
        for epoch in range(4000)
    ]
    counts = np.bincount(places, minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9


def test_weights_are_the_frequencies() -> None:
    drawn = epoch_order(
        100_000, seed=2, epoch=3, weights=np.tile([0.0, 1.0, 3.0, 0.0], 25_000)
    )
    kinds = np.bincount(drawn % 4, minlength=4) / 100_000
    assert kinds[0] == kinds[3] == 0
    assert kinds[1] == pytest.approx(0.25, abs=0.006)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (np.ones(3), "shape"),
        (np.array([1, -1, 1, 1.0]), "record 1 is -1"),
        (np.array([1, 1, np.nan, 1]), "record 2 is nan"),
        (np.zeros(4), "All sampling weights are zero"),
    ],
)
def test_bad_weights_are_refused(weights: np.ndarray, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        epoch_order(4, seed=0, epoch=0, weights=weights)


def test_balanced_weights() -> None:
    weights = balanced_weights(np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    several = balanced_weights(np.array([[1, 0], [1, 0], [1, 1], [0, 0]]))
    np.testing.assert_allclose(
        several / several[0], [1, 1, 3, 3]
    )  # the rarest label counts; none is a class too
    assert several.mean() == pytest.approx(1)


@on_a_busy_machine
@given(n=st.integers(1, 60), batch_size=st.integers(1, 7), world_size=st.integers(1, 5))
def test_parts_of_all_ranks_make_the_batches_of_one_process(
    n: int, batch_size: int, world_size: int
) -> None:
    n_batches = count_batches(n, batch_size, world_size)
    assert n_batches == count_batches(n, batch_size * world_size)
    for batch in range(n_batches):
        whole = rank_slice(n, batch, batch_size * world_size)
        parts = [
            rank_slice(n, batch, batch_size, rank, world_size)
            for rank in range(world_size)
        ]
        together = [
            place
            for part in parts
            for place in range(part.start, part.start + part.n_local)
        ]
        assert together == list(range(whole.start, whole.stop))
        assert all(part.n_global == whole.n_local for part in parts)
        assert all(1 <= part.stop - part.start <= batch_size for part in parts)
        assert (
            max(part.n_local for part in parts) - min(part.n_local for part in parts)
            <= 1
        )


def test_patient_order_is_golden() -> None:
    patients = np.array([0, 1, 0, 2, 2, 2, 3, 0])
    options = {"seed": 0, "records_per_patient": 2, "batch_size": 4}
    orders = [patient_order(patients, epoch=epoch, **options) for epoch in (0, 1)]
    assert orders[0].tolist() == [0, 2, 7, 5, 4, 3, 1, 6]
    assert orders[1].tolist() == [7, 2, 4, 6, 3, 5, 1, 0]


@on_a_busy_machine
@given(
    patients=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    per_patient=st.integers(1, 4),
    batch_size=st.integers(1, 9),
    epoch=st.integers(0, 50),
)
def test_records_of_a_patient_are_neighbours(
    patients: list[int], per_patient: int, batch_size: int, epoch: int
) -> None:
    """Each record comes once, and a batch has the records of a patient in a row."""
    codes = np.array(patients)
    order = patient_order(
        codes,
        seed=5,
        epoch=epoch,
        records_per_patient=per_patient,
        batch_size=batch_size,
    )
    assert sorted(order.tolist()) == list(range(len(codes)))
    if per_patient == 2 and batch_size % 2 == 0:
        runs = np.count_nonzero(np.diff(codes[order], prepend=-1))
        groups = sum(-(-count // 2) for count in np.bincount(codes))
        assert runs <= groups + 1, "one pair at most is split"


def test_batches_pair_the_records_of_a_patient() -> None:
    """40 patients with two records and 20 with one: in batches of 8 all pairs stay
    together; shuffling alone leaves hardly any."""
    patients = np.concatenate([np.repeat(np.arange(40), 2), np.arange(40, 60)])

    def pairs(order: np.ndarray) -> int:
        batches = np.array_split(patients[order], range(8, len(order), 8))
        return sum(len(batch) - len(np.unique(batch)) for batch in batches)

    for epoch in range(5):
        order = patient_order(
            patients, seed=1, epoch=epoch, records_per_patient=2, batch_size=8
        )
        assert pairs(order) == 40
        assert pairs(epoch_order(100, seed=1, epoch=epoch)) < 10


def test_windows_are_golden_and_lie_in_the_recorded_part() -> None:
    valid = np.array([[10, 110], [0, 30], [5, 20]])
    rows = np.array([3, 8, 3])
    starts = window_starts(valid, rows, 2, 20, seed=0, epoch=0)
    assert starts.tolist() == [[79, 60], [7, 1], [5, 5]]
    many = np.concatenate(
        [window_starts(valid, rows, 4, 20, seed=2, epoch=epoch) for epoch in range(500)]
    ).reshape(500, 3, 4)
    assert (many[:, 0].min(), many[:, 0].max()) == (10, 90)
    assert (many[:, 1].min(), many[:, 1].max()) == (0, 10)
    assert (many[:, 2] == 5).all(), "shorter than a window: it starts with the record"
    assert many[:, 0].mean() == pytest.approx(50, abs=2)
    other = window_starts(valid, rows, 4, 20, seed=3, epoch=0)
    assert not np.array_equal(other, many[0])
