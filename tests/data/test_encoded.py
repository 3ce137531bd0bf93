"""Encoded captions give back what the tokenizer made, and count what is clipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.errors import InputError

MANY = ("a dog",) * 18
"""So many captions that a tenth of them with those of a test are two."""


def split(*captions: tuple[str, ...]) -> list[CaptionedImage]:
    return [CaptionedImage(n, Path(f"{n}.jpg"), own) for n, own in enumerate(captions)]


def test_each_image_has_its_own_captions_in_order(tokenizer):
    images = split(("a dog", "a cat sleeps"), (), ("on a field",), ("",))
    encoded = EncodedCaptions(images, tokenizer)
    assert [encoded[n] for n in range(4)] == [tokenizer.encode(image.captions) for image in images]
    assert encoded[1] == []
    assert [len(ids) for ids in encoded[3]] == [2]  # an empty caption begins and ends


def test_lengths_are_those_of_the_longest_caption_with_begin_and_end(tokenizer):
    encoded = EncodedCaptions(split(("a dog", "a cat sleeps"), (), ("dog",), ("",)), tokenizer)
    assert encoded.lengths.tolist() == [5, 0, 3, 2]
    assert encoded.lengths.dtype == "int64"


def test_a_truncated_caption_loses_eos_too(tokenizer):
    encoded = EncodedCaptions(split(("a dog runs on a field", "a cat sleeps"), MANY), tokenizer, max_length=3)
    special = tokenizer.special
    clipped, whole = encoded[0]
    assert [tokenizer.token(i) for i in clipped[1:]] == ["a", "dog", "runs"]
    assert clipped[0] == special.bos
    assert special.eos not in clipped
    assert whole[-1] == special.eos
    assert encoded.lengths.tolist() == [5, 4]


def test_truncated_captions_are_counted_and_logged(tokenizer, caplog):
    images = split(("a dog runs on a field", "a cat sleeps"), ("a dog runs on",), MANY[1:])
    encoded = EncodedCaptions(images, tokenizer, max_length=3)
    assert encoded.num_clipped == 2
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "2 of 20 captions are longer than max_length=3 tokens and were truncated"


def test_truncating_more_than_a_tenth_is_refused_with_the_right_settings(tokenizer):
    images = split(("a dog runs on a field", "a cat sleeps"), ("a dog runs on",), MANY[2:])
    with pytest.raises(
        InputError, match=r"max_length=3 would truncate 2 of 19 .*; set data\.max_length=6 search\.max_length=7"
    ):
        EncodedCaptions(images, tokenizer, max_length=3)
    assert EncodedCaptions(images, tokenizer, max_length=6).num_clipped == 0


@pytest.mark.parametrize("max_length", [None, 6])
def test_captions_that_fit_are_not_truncated(tokenizer, caplog, max_length):
    images = split(("a dog runs on a field",))
    encoded = EncodedCaptions(images, tokenizer, max_length=max_length)
    assert encoded.num_clipped == 0
    assert encoded[0] == tokenizer.encode(images[0].captions)
    assert not caplog.records


@pytest.mark.parametrize("images", [[], split((), ())], ids=["no images", "no captions"])
def test_a_split_without_captions_is_allowed(tokenizer, images):
    encoded = EncodedCaptions(images, tokenizer, max_length=3)
    assert encoded.lengths.tolist() == [0] * len(images)
    assert encoded.lengths.dtype == "int64"
    assert all(encoded[n] == [] for n in range(len(images)))


def test_an_image_has_as_many_rows_as_its_captions_take(tokenizer):
    images = split(("a",), ("a dog", "a"), (), ("on", "a dog runs", "a cat sleeps"), ("a dog",))
    encoded = EncodedCaptions(images, tokenizer, part=2)
    assert len(encoded) == 5  # none without captions
    assert encoded.images.tolist() == [0, 1, 3, 3, 4]
    assert [len(encoded[row]) for row in range(5)] == [1, 2, 2, 1, 1]
    assert encoded.lengths.tolist() == [3, 4, 5, 5, 4]
    rows = [ids for row in range(5) for ids in encoded[row]]
    assert rows == tokenizer.encode([caption for image in images for caption in image.captions])


@pytest.mark.parametrize("part", [1, 3, 9])
def test_parts_are_truncated_like_whole_images(tokenizer, part):
    images = split(("a dog runs on a field", "a cat sleeps"), MANY)
    whole = EncodedCaptions(images, tokenizer, max_length=3)
    encoded = EncodedCaptions(images, tokenizer, max_length=3, part=part)
    assert [ids for row in range(len(encoded)) for ids in encoded[row]] == [*whole[0], *whole[1]]
    assert encoded.num_clipped == 1
