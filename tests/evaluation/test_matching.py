"""Retrieval by similarity: ranks by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captioning.data.example import CaptionedImage
from captioning.errors import InputError
from captioning.evaluation.matching import Sentences, match
from captioning.metrics.ranking import retrieve_images

IMAGES = [CaptionedImage(image_id=n, path=Path(f"{n}.jpg"), captions=("one", "two", "three")) for n in (7, 3, 5)]


def test_the_first_captions_of_each_image_are_its_sentences() -> None:
    sentences = Sentences.of(IMAGES, captions_per_image=2)
    assert sentences.texts == ("one", "two") * 3
    assert sentences.image_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert sentences.image_ids == (7, 3, 5)


def test_ranks_are_those_of_the_similarities_in_any_order_of_rows() -> None:
    sentences = Sentences.of(IMAGES, captions_per_image=1)
    rows = {3: [0.0, 1.0, 0.5], 5: [3.0, 2.0, 4.0], 7: [2.0, 0.1, 0.2]}
    found = match({image_id: np.array(row) for image_id, row in rows.items()}, sentences)
    assert found.image_to_text.ranks.tolist() == [1, 1, 1]
    assert found.text_to_image.ranks.tolist() == [2, 2, 1]
    assert found.scores["text_to_image R@1"] == 1 / 3
    assert found.scores["image_to_text median_rank"] == 1
    assert found.scores["recall"] == pytest.approx((3 + 1 / 3 + 2) / 6)


def test_an_image_that_was_not_scored_is_named() -> None:
    sentences = Sentences.of(IMAGES, captions_per_image=1)
    with pytest.raises(InputError, match="1 images of the split were not scored, the first is 3"):
        match({7: np.zeros(3), 5: np.zeros(3)}, sentences)


def test_an_image_without_a_caption_is_named() -> None:
    bare = CaptionedImage(image_id="bare", path=Path("x.jpg"), captions=())
    with pytest.raises(InputError, match="1 images have no caption to retrieve, the first is 'bare'"):
        Sentences.of([*IMAGES, bare], captions_per_image=5)


def test_intervals_draw_images_with_all_their_sentences() -> None:
    random = np.random.default_rng(0)
    index = np.repeat(np.arange(40), 5)
    found = retrieve_images(random.normal(size=(40, 200)) + 2 * np.eye(40)[:, index], index)
    own = found.intervals(np.random.default_rng(1), num_replicates=200)["R@1"]
    drawn = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        images = drawn.integers(40, size=40)
        shares.append(np.mean(np.concatenate([found.ranks[index == image] for image in images]) <= 1))
    assert (own.low, own.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
    assert own.low < own.score < own.high
