"""Every image once an epoch, on one process or several; buckets keep padding small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from captioning.data.sampler import BucketSampler, InOrderSampler
from captioning.errors import InputError

sizes = st.integers(1, 9)
worlds = st.integers(1, 4)


def epoch(sampler: BucketSampler, number: int) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), sizes, st.integers(1, 4), st.integers(0, 3))
def test_every_image_stands_once_in_an_epoch(lengths, batch_size, pool, number):
    batches = epoch(sampler := BucketSampler(lengths, batch_size, pool=pool), number)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    short = [len(batch) for batch in batches if len(batch) != batch_size]
    assert short == ([len(lengths) % batch_size] if len(lengths) % batch_size else [])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), sizes, worlds)
def test_processes_share_every_image_and_have_equally_many_batches(lengths, batch_size, world_size):
    samplers = [BucketSampler(lengths, batch_size, rank=r, world_size=world_size, seed=3) for r in range(world_size)]
    shares = [list(sampler) for sampler in samplers]
    alone = list(BucketSampler(lengths, batch_size * world_size, seed=3))  # one process with their batches together
    assert {len(share) for share in shares} == {len(sampler) for sampler in samplers} == {len(alone)}
    for whole, *own in zip(alone, *shares, strict=True):
        assert sorted(i for rows in own if not rows.repeated for i in rows) == sorted(whole)
        assert all(1 <= len(rows) <= batch_size for rows in own)
        sizes = [0 if rows.repeated else len(rows) for rows in own]
        assert max(sizes) - min(sizes) <= 1
        assert all(list(rows) == whole[:1] for rows in own if rows.repeated)


def test_each_process_gets_short_and_long_captions():
    lengths = range(1, 65)
    firsts = [next(iter(BucketSampler(lengths, 32, rank=r, world_size=2))) for r in range(2)]
    means = [np.mean([lengths[i] for i in rows]) for rows in firsts]
    assert abs(means[0] - means[1]) == 1


def test_batches_of_several_processes_have_their_own_seeds():
    seeds = [rows.seed for r in range(3) for rows in BucketSampler(range(1, 30), 2, rank=r, world_size=3)]
    assert len(set(seeds)) == len(seeds)


@given(st.integers(0, 60), sizes, worlds)
def test_in_order_covers_all_in_order(num_images, batch_size, world_size):
    shares = [
        list(InOrderSampler(num_images, batch_size, rank=rank, world_size=world_size)) for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {len(InOrderSampler(num_images, batch_size, world_size=world_size))}
    dealt = [batch for turn in zip(*shares, strict=True) for batch in turn]  # one to each process in turn
    count = -(-num_images // batch_size)
    assert [i for batch in dealt[:count] for i in batch] == list(range(num_images))
    assert all(batch in dealt[:count] for batch in dealt[count:])
    assert len(dealt) - count < world_size


def test_the_order_is_the_seeds_and_the_epochs():
    def order(seed: int, number: int) -> list[list[int]]:
        return epoch(BucketSampler(range(1, 100), 7, seed=seed), number)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 1) != order(1, 0)
    assert order(0, 0) != order(1, 0)
    again = BucketSampler(range(1, 100), 7)
    assert epoch(again, 1) != epoch(again, 2)
    assert epoch(again, 1) == order(0, 1)  # whatever ran before


def test_buckets_keep_padding_small():
    # Lengths as of Flickr8k's longest captions. Random batches of 16 pad about a third of all places.
    lengths = np.random.default_rng(0).normal(15, 4, 6000).clip(5, 35).round().astype(int)

    def padded(batches) -> float:
        places = sum(len(batch) * lengths[batch].max() for batch in batches)
        return 1 - lengths.sum() / places

    shuffled = np.random.default_rng(1).permutation(6000).reshape(-1, 16)
    assert padded(shuffled) > 0.3
    assert padded(BucketSampler(lengths, 16)) < 0.03


def test_batches_of_one_length_do_not_follow_one_another():
    lengths = np.arange(1, 801)
    longest = np.array([lengths[batch].max() for batch in BucketSampler(lengths, 8)])
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3


def test_images_without_captions_are_left_out_and_counted(caplog):
    sampler = BucketSampler([3, 0, 5, 0, 4], 2)
    assert sorted(i for batch in sampler for i in batch) == [0, 2, 4]
    assert len(sampler) == 2
    assert [r.getMessage() for r in caplog.records] == ["2 of 5 images have no caption and are left out"]


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_captions_at_all_are_refused(lengths):
    with pytest.raises(InputError, match=f"none of the {len(lengths)} training images has a caption"):
        BucketSampler(lengths, 2)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batches_of_no_images_are_refused(batch_size):
    for make in (lambda: BucketSampler([3], batch_size), lambda: InOrderSampler(3, batch_size)):
        with pytest.raises(InputError, match=f"batch_size={batch_size} must be at least 1"):
            make()


def test_a_loader_hands_whole_batches_of_plain_numbers_to_a_data_set():
    class Rows:
        def __getitem__(self, rows):
            assert all(type(row) is int for row in rows)
            return rows

    for sampler in (BucketSampler([3, 1, 2], 2), InOrderSampler(3, 2)):
        loader = DataLoader(Rows(), batch_size=None, sampler=sampler)
        assert sorted(row for rows in loader for row in rows) == [0, 1, 2]
        assert len(loader) == 2


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_that_resumes_has_the_batches_that_are_left(world_size: int) -> None:
    lengths = np.arange(1, 38)
    for rank in range(world_size):
        whole = BucketSampler(lengths, 3, seed=5, rank=rank, world_size=world_size, pool=2)
        resumed = BucketSampler(lengths, 3, seed=5, rank=rank, world_size=world_size, pool=2)
        resumed.resume(4, 2)
        whole.set_epoch(4)
        batches, left = list(whole), list(resumed)
        assert left == batches[2:]
        assert [batch.seed for batch in left] == [batch.seed for batch in batches[2:]]  # type: ignore[attr-defined]
        assert len(resumed) == len(batches)
        whole.set_epoch(5)
        resumed.set_epoch(5)
        assert list(resumed) == list(whole)
