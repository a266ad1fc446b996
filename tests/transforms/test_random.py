"""The generator: known numbers, independence of the batch, and its statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from ecgnb.transforms.random import _mix, normal, record_states, stream_of, uniform

KEYS = torch.arange(64)


def splitmix64(state: int, count: int) -> list[int]:
    """Reference in Python integers: the generator as its paper defines it."""
    words = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        words.append(z ^ (z >> 31))
    return words


def test_hash_is_splitmix64():
    # First outputs for the seed 1234567, as published with the reference
    # implementation.
    golden = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(1234567, 3) == golden
    counter = torch.arange(1, 4) * (0x9E3779B97F4A7C15 - 2**64) + 1234567
    assert [word % 2**64 for word in _mix(counter).tolist()] == golden


def test_numbers_never_change():
    states = record_states(
        torch.tensor([0, 5]), seed=7, step=3, stream=stream_of("gaussian_noise")
    )
    again = record_states(
        torch.tensor([5]), seed=7, step=3, stream=stream_of("gaussian_noise")
    )
    assert states[1] == again[0]
    assert torch.equal(
        uniform(states, (3,), stream=1)[1:], uniform(again, (3,), stream=1)
    )
    drawn = uniform(record_states(torch.tensor([42]), seed=1, step=2), (2,))[0].tolist()
    assert drawn == [0.34390950202941895, 0.812015175819397], (
        "other numbers: saved runs would no longer resume to the same weights"
    )


@pytest.mark.parametrize("draw", [uniform, normal])
def test_company_in_the_batch_does_not_matter(draw):
    together = draw(record_states(KEYS, seed=3, step=9), (12, 501), stream=2)
    for key in (0, 17, 63):
        assert torch.equal(
            together[key],
            draw(record_states(KEYS[key : key + 1], seed=3, step=9), (12, 501), 2)[0],
        )
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        draw(record_states(KEYS[order], seed=3, step=9), (12, 501), 2), together[order]
    )


def test_a_prefix_is_a_prefix():
    states = record_states(KEYS)
    assert torch.equal(uniform(states, (10,)), uniform(states, (1000,))[:, :10])


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_do_not_matter(n_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        drawn = normal(record_states(torch.tensor([11]), seed=5), (12, 5001))
    finally:
        torch.set_num_threads(before)
    words = splitmix64(
        int(
            _mix(
                record_states(torch.tensor([11]), seed=5) + (0x9E3779B97F4A7C15 - 2**64)
            )[0]
        ),
        12 * 5001,
    )
    bytes_ = (
        np.array(words, dtype=np.uint64)
        .view(np.uint8)
        .reshape(-1, 8)
        .sum(1)
        .astype(np.float32)
    )
    expected = (bytes_ - 1020) * np.float32(1 / np.sqrt(8 * (256**2 - 1) / 12))
    assert np.array_equal(drawn.numpy().ravel(), expected)


def test_uniform_is_uniform():
    drawn = uniform(record_states(KEYS), (20_000,)).double()
    assert drawn.min() >= 0 and drawn.max() < 1
    n = drawn.numel()
    assert abs(drawn.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    assert abs(drawn.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    counts = np.histogram(drawn.numpy(), bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4
    assert stats.kstest(drawn[0].numpy(), "uniform").pvalue > 1e-4


def test_normal_is_nearly_normal():
    drawn = normal(record_states(KEYS), (20_000,)).double().numpy().ravel()
    assert abs(drawn.mean()) < 5 / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / drawn.size)
    assert abs(stats.skew(drawn)) < 0.02
    assert abs(stats.kurtosis(drawn) - (-0.15)) < 0.02
    assert np.abs(drawn).max() <= 4.9
    for quantile in (0.01, 0.1, 0.5, 0.9, 0.99):
        assert abs(np.quantile(drawn, quantile) - stats.norm.ppf(quantile)) < 0.05


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 0}, {"seed": 1}),
        ({"step": 0}, {"step": 1}),
        ({"seed": 1, "step": 0}, {"seed": 0, "step": 1}),
        ({"stream": stream_of("time_mask")}, {"stream": stream_of("time_shift")}),
        ({"stream": stream_of("time_mask")}, {"stream": stream_of("time_mask", 1)}),
    ],
)
def test_seeds_steps_and_streams_are_independent(first, second):
    one, other = (
        uniform(record_states(KEYS, **which), (5000,)).numpy().ravel()
        for which in (first, second)
    )
    assert not np.array_equal(one, other)
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(one.size)


def test_neighbours_are_independent():
    drawn = uniform(record_states(torch.arange(2000)), (50,)).double().numpy()
    bound = 5 / np.sqrt(drawn.size)
    assert (
        abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < bound
    )  # neighbouring keys
    assert (
        abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < bound
    )  # neighbouring positions
    states = record_states(torch.arange(2000))
    streams = np.stack(
        [uniform(states, (50,), stream).double().numpy().ravel() for stream in range(4)]
    )
    assert np.abs(np.corrcoef(streams) - np.eye(4)).max() < bound


def test_states_of_many_records_differ():
    keys = torch.arange(300_000)
    assert (
        len(
            torch.unique(
                torch.cat([record_states(keys, step=step) for step in (0, 1, 2)])
            )
        )
        == 900_000
    )


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63, 2**64 - 1])
def test_any_integer_is_a_seed(seed):
    assert 0 <= float(uniform(record_states(torch.tensor([0]), seed=seed))[0]) < 1
