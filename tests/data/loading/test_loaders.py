from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from training_fakes import FakeStore

from ecgnb.core.errors import ConfigError
from ecgnb.data.loading.loaders import Batch, Loader, decode, prefetch, valid_mask
from ecgnb.data.loading.sampler import epoch_order, window_starts

ROWS = np.arange(1, 50, 2)  # 25 odd rows


def make(store: FakeStore | None = None, **changed: object) -> Loader:
    store = store or FakeStore()
    settings: dict = {"batch_size": 4, "seed": 3, "shuffle": True} | changed
    return Loader(store, ROWS, store.labels[ROWS], **settings)


def same(left: Batch, right: Batch) -> bool:
    names = ("signal", "target", "mask", "index")
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in names)


def threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("ecgnb-prefetch")
    ]


def test_batches_hold_what_the_store_has_in_the_order_of_the_epoch() -> None:
    store = FakeStore()
    batches = list(make(store).epoch(2))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 4, 1] and len(
        make()
    ) == 7
    rows = ROWS[epoch_order(25, seed=3, epoch=2)]
    assert torch.cat([batch.index for batch in batches]).tolist() == rows.tolist()
    np.testing.assert_array_equal(
        torch.cat([batch.signal for batch in batches]), store.read(rows)
    )
    np.testing.assert_array_equal(
        torch.cat([batch.target for batch in batches]), store.labels[rows]
    )
    mask = torch.cat([batch.mask for batch in batches]).numpy()
    assert mask.dtype == bool
    for row, line in zip(rows, mask, strict=True):
        expected = np.zeros(48, dtype=bool)
        expected[slice(*store.limits[row])] = True
        np.testing.assert_array_equal(line, expected)


def test_resident_batches_are_bitwise_the_same() -> None:
    streamed, resident = make(), make(resident=True)
    for epoch in (0, 1):
        pairs = list(zip(streamed.epoch(epoch), resident.epoch(epoch), strict=True))
        assert all(same(left, right) for left, right in pairs)
    assert resident.resident and not streamed.resident


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    for resident in (False, True):
        whole = list(make(resident=resident).epoch(5))
        rest = list(make(resident=resident).epoch(5, start_batch=3))
        assert len(rest) == 4
        assert all(
            same(left, right) for left, right in zip(whole[3:], rest, strict=True)
        )
    assert list(make().epoch(0, start_batch=7)) == []


def test_ranks_together_are_one_process() -> None:
    one = list(make(batch_size=6).epoch(0))
    ranks = [
        list(make(batch_size=2, rank=rank, world_size=3).epoch(0)) for rank in range(3)
    ]
    for number, whole in enumerate(one):
        parts = [rank[number] for rank in ranks]
        together = torch.cat([part.signal[: part.n_local] for part in parts])
        assert torch.equal(together, whole.signal)
        assert {part.n_global for part in parts} == {len(whole)}
    assert [rank[-1].n_local for rank in ranks] == [
        0,
        0,
        1,
    ]  # 25 = 4 * 6 + 1; the idle ranks borrow the record
    assert all(len(rank[-1]) == 1 for rank in ranks)
    np.testing.assert_array_equal(
        make(batch_size=2, rank=1, world_size=3).batch_rows(0, 4), one[4].index
    )


def test_weights_draw_the_rare_class_more_often() -> None:
    store = FakeStore(300)
    targets = np.repeat([0, 1], [270, 30])
    weights = np.where(targets == 1, 9.0, 1.0)
    loader = Loader(
        store, np.arange(300), targets, batch_size=50, seed=0, weights=weights
    )
    drawn = torch.cat(
        [batch.target for epoch in range(10) for batch in loader.epoch(epoch)]
    )
    assert drawn.float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_several_labels_and_no_labels() -> None:
    store = FakeStore()
    several = Loader(store, ROWS, np.eye(3)[store.labels[ROWS]], batch_size=25)
    batch = next(several.epoch(0))
    assert batch.target.dtype == torch.float32 and batch.target.shape == (25, 3)
    none = next(Loader(store, ROWS, None, batch_size=2).epoch(0))
    assert none.target.tolist() == [0, 0]


def test_float16_is_decoded_like_int16() -> None:
    raw = np.array([[[0.5, -1.25]], [[2.0, 3.5]]], dtype=np.float16)
    signal = decode(torch.from_numpy(raw), torch.tensor([1.0, 2.0]))
    assert signal.dtype == torch.float32
    assert signal.tolist() == [[[0.5, -1.25]], [[4.0, 7.0]]]
    assert valid_mask(torch.tensor([[1, 3], [0, 4]]), 4).tolist() == [
        [False, True, True, False],
        [True] * 4,
    ]


def test_errors_of_the_thread_come_out_here() -> None:
    class Broken(FakeStore):
        def read(self, rows: np.ndarray) -> np.ndarray:
            if self.calls == 2:
                raise OSError("the disk has gone")
            return super().read(rows)

    stream = make(Broken()).epoch(0)
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(OSError, match="the disk has gone"):
        next(stream)
    assert not threads()


@pytest.mark.parametrize("taken", [0, 1, 3, 7])
def test_closing_early_leaves_no_thread(taken: int) -> None:
    stream = make().epoch(0)
    for _ in range(taken):
        next(stream)
    stream.close()
    assert not threads()


def test_an_abandoned_stream_ends_its_thread() -> None:
    for _ in make().epoch(0):
        break
    assert not threads()


@pytest.mark.parametrize(
    ("rows", "targets", "batch_size", "told"),
    [
        (np.array([], dtype=int), np.array([], dtype=int), 4, "at least one row"),
        (np.array([0, 50]), np.array([0, 1]), 4, "store with 50 records"),
        (np.array([-1, 3]), np.array([0, 1]), 4, "Rows -1 to 3"),
        (np.array([0, 3]), np.array([0]), 4, "2 rows but 1 targets"),
        (np.array([0, 3]), np.array([0, 1]), 0, "batch size is 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    rows: np.ndarray, targets: np.ndarray, batch_size: int, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Loader(FakeStore(), rows, targets, batch_size=batch_size)


def test_rows_with_nan_are_found() -> None:
    class Spoiled(FakeStore):
        def read(self, rows: np.ndarray) -> np.ndarray:
            signal = super().read(rows)
            signal[rows == 7, 1, 5] = np.nan
            return signal

    assert make(Spoiled()).not_finite(np.array([1, 7, 9])).tolist() == [7]


def test_stored_numbers_on_their_way_to_a_gpu_become_the_same_signals() -> None:
    """What is read for another device is half as large and, decoded, bitwise the batch
    of the CPU."""
    loader, expected = make(), next(make().epoch(0))
    loader.device = torch.device(
        "mps"
    )  # no such device is touched: reading alone is tested
    piece = loader._gather(epoch_order(25, seed=3, epoch=0)[:4])
    assert piece["raw"].dtype == torch.int16 and "signal" not in piece
    loader.device = torch.device("cpu")
    assert same(loader._batch(piece, loader.part(0)), expected)


def test_windows_are_cut_from_signal_and_mask() -> None:
    loader = make(window_samples=12, windows_per_record=3)
    for epoch in (0, 1):
        batch = next(loader.epoch(epoch))
        assert batch.windows.shape == (4, 3, 2, 12)
        valid = loader.store.valid(batch.index.numpy())
        starts = window_starts(valid, batch.index.numpy(), 3, 12, seed=3, epoch=epoch)
        for row in range(4):
            for window in range(3):
                part = slice(starts[row, window], starts[row, window] + 12)
                assert torch.equal(
                    batch.windows[row, window], batch.signal[row, :, part]
                )
                assert torch.equal(
                    batch.window_mask[row, window], batch.mask[row, part]
                )
    assert make().window_samples == 0 and next(make().epoch(0)).windows is None


@pytest.mark.parametrize("resident", [False, True])
def test_windows_and_patients_do_not_depend_on_where_the_epoch_is_entered(
    resident: bool,
) -> None:
    def make_patients(**changed: Any) -> Loader:
        patients = np.arange(25) // 2
        return make(
            patients=patients, records_per_patient=2, window_samples=12, **changed
        )

    whole = list(make_patients().epoch(5))
    rest = list(make_patients(resident=resident).epoch(5, start_batch=3))
    for left, right in zip(whole[3:], rest, strict=True):
        assert same(left, right)
        assert torch.equal(left.windows, right.windows)
        assert torch.equal(left.metadata["patient"], right.metadata["patient"])
    for batch in whole[:-1]:
        counts = torch.bincount(batch.metadata["patient"])
        assert set(counts[counts > 0].tolist()) == {2}
    ranks = [
        list(make_patients(batch_size=2, rank=rank, world_size=2).epoch(5))
        for rank in range(2)
    ]
    for parts in list(zip(*ranks, strict=True))[:-1]:
        for part in parts:
            assert len(part.metadata["patient"].unique()) == 1, "a pair on one rank"


def test_windows_longer_than_the_signals_are_refused() -> None:
    with pytest.raises(ConfigError, match="Windows of 49 samples are longer"):
        make(window_samples=49)


def test_prefetch_reads_ahead_but_not_more_than_asked() -> None:
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    stream = prefetch(numbers(), depth=2)
    assert next(stream) == 0
    assert third.wait(10)  # 1 and 2 wait in the queue, 3 in the hand of the thread
    assert made == [0, 1, 2, 3]
    assert list(stream) == list(range(1, 100))
    assert not threads()


def test_an_error_comes_at_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = prefetch(numbers())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stream)
    assert not threads()


def test_closing_while_the_thread_waits_for_room() -> None:
    full = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(1000):
            if number == 4:
                full.set()
            yield number

    stream = prefetch(numbers(), depth=3)
    assert next(stream) == 0
    assert full.wait(10)
    stream.close()
    assert not threads()
