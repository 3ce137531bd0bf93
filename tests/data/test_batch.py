"""A batch holds each image once and its captions sorted, indexed and padded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import unpack_sequence

from captioning.data.batch import CaptionBatch, collate
from captioning.encoders.features import ImageFeatures


def test_captions_are_sorted_from_the_longest_and_know_their_image_and_their_number():
    batch = collate(("x", "y", "z"), [[[1, 4, 2], [1, 5, 6, 7, 2]], [], [[1, 8, 9, 2]]], pad=0)
    assert batch.image_ids == ("x", "y", "z")
    assert batch.tokens.tolist() == [[1, 5, 6, 7, 2], [1, 8, 9, 2, 0], [1, 4, 2, 0, 0]]
    assert batch.lengths.tolist() == [4, 3, 2]
    assert batch.image_index.tolist() == [0, 2, 0]
    assert batch.caption_index.tolist() == [1, 0, 0]
    assert batch.tokens.dtype == batch.lengths.dtype == batch.image_index.dtype == torch.int64


def test_captions_of_one_length_keep_the_order_of_images_and_captions():
    batch = collate((7, 8), [[[1, 4, 2], [1, 5, 2]], [[1, 6, 2]]], pad=0)
    assert batch.tokens[:, 1].tolist() == [4, 5, 6]
    assert batch.image_index.tolist() == [0, 0, 1]


def test_inputs_and_targets_are_one_step_apart(batch):
    inputs, targets = unpack_sequence(batch.inputs()), unpack_sequence(batch.targets())
    assert [row.tolist() for row in inputs] == [[1, 4, 9, 10, 4, 5, 6], [1, 6, 3, 7], [1, 4, 8], [1, 5], [1]]
    assert [row.tolist() for row in targets] == [[4, 9, 10, 4, 5, 6, 7], [6, 3, 7, 2], [4, 8, 2], [5, 2], [2]]


@given(st.lists(st.lists(st.lists(st.integers(3, 9), max_size=6), max_size=3), max_size=5), st.integers(20, 30))
def test_every_caption_is_there_once_with_its_image(words: list[list[list[int]]], pad: int):
    captions = [[[1, *ids, 2] for ids in own] for own in words]
    batch = collate(range(len(captions)), captions, pad=pad)
    rows = [
        (image, [i for i in ids if i != pad])
        for image, ids in zip(batch.image_index.tolist(), batch.tokens.tolist(), strict=True)
    ]
    assert sorted(rows) == sorted((i, ids) for i, own in enumerate(captions) for ids in own)
    assert batch.lengths.tolist() == sorted((len(ids) - 1 for _, ids in rows), reverse=True)
    assert batch.tokens.shape == (len(rows), max((len(ids) for _, ids in rows), default=1))
    if rows:
        kept = [ids for _, ids in rows]
        assert [row.tolist() for row in unpack_sequence(batch.inputs())] == [ids[:-1] for ids in kept]
        assert [row.tolist() for row in unpack_sequence(batch.targets())] == [ids[1:] for ids in kept]


def test_images_without_captions_are_images_still():
    batch = collate(("x", "y"), [[], []], pad=0, images=torch.zeros(2, 3, 5, 5))
    assert batch.tokens.shape == (0, 1)
    assert batch.lengths.tolist() == batch.image_index.tolist() == []
    assert len(batch.images) == 2


def test_moving_leaves_the_lengths_where_packing_reads_them(batch):
    moved = batch.to("meta")
    assert moved.tokens.is_meta
    assert moved.image_index.is_meta
    assert moved.features.pooled.is_meta
    assert moved.features.grid.is_meta
    assert moved.images is None
    assert moved.lengths.device.type == "cpu"
    assert moved.image_ids == batch.image_ids


def test_images_move_too():
    batch = collate(("x",), [[[1, 2]]], pad=0, images=torch.zeros(1, 3, 5, 5)).to("meta")
    assert batch.images.is_meta
    assert batch.features is None


@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_packed_captions_are_marked_as_sorted(batch: CaptionBatch, name: str):
    packed = getattr(batch, name)()
    assert packed.sorted_indices is None  # sorted by us: nothing is sorted again on the device
    assert packed.batch_sizes.tolist() == [5, 4, 3, 2, 1, 1, 1]


def test_features_are_handed_on():
    features = ImageFeatures(torch.zeros(1, 13))
    assert collate(("x",), [[[1, 2]]], pad=0, features=features).features is features


@pytest.mark.parametrize("eos", [2, 7])
def test_words_are_captions_without_bos_and_eos(batch, eos):
    # With eos = 7 the truncated caption ends with it, and those that end with 2 have another word.
    tokens, lengths = batch.words(eos)
    found = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    last = [[], [2]][eos == 7]
    expected = [[4, 9, 10, 4, 5, 6, *([] if eos == 7 else [7])], [6, 3, 7, *last], [4, 8, *last], [5, *last], [*last]]
    assert found == expected
    assert lengths.device.type == "cpu"
    assert lengths.dtype == torch.int64
