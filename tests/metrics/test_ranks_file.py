"""A matcher's ranks are read as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from captioning.errors import InputError
from captioning.metrics.ranking import retrieve_images, retrieve_sentences, scores_of
from captioning.metrics.ranks_file import Ranks, digest, load_ranks

TEXTS = ["a dog", "the dog", "a cat", "a bird", "two birds"]
OWNERS = np.array([0, 0, 1, 2, 2])


def test_ranks_are_read_as_they_were_written(tmp_path: Path):
    similarity = np.random.default_rng(0).normal(size=(3, 5))
    directions = {
        "image_to_text": retrieve_sentences(similarity, OWNERS, np.zeros(5)),
        "text_to_image": retrieve_images(similarity, OWNERS),
    }
    Ranks([4, "x.jpg", 5], digest(TEXTS), directions).save(tmp_path / "ranks.safetensors")
    kept = load_ranks(tmp_path / "ranks.safetensors")
    assert (kept.image_ids, kept.sentences) == ([4, "x.jpg", 5], digest(TEXTS))
    assert scores_of(kept.directions) == scores_of(directions)
    for name, found in directions.items():
        assert kept.directions[name].ranks.tolist() == found.ranks.tolist()
        assert kept.directions[name].images.tolist() == found.images.tolist()


def test_sentences_of_another_text_or_order_have_another_digest():
    assert digest(TEXTS) == digest(tuple(TEXTS))
    assert len({digest(TEXTS), digest(TEXTS[::-1]), digest(TEXTS[:4]), digest(["a", "b"]), digest(["ab"])}) == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"text_to_image ranks": np.array([1, 2, 0, 1, 1])}, "text_to_image has no ranks from 1"),
        ({"text_to_image ranks": np.array([1, 2])}, "text_to_image has no ranks from 1"),
        ({"text_to_image images": np.array([0, 0, 1, 1, 1])}, "text_to_image has no ranks from 1 of each of 3 images"),
        ({"image_to_text images": np.array([0, 1, 3])}, "image_to_text has no ranks from 1 of each of 3 images"),
        ({"image_to_text images": np.array([0, 1, -1])}, "image_to_text has no ranks from 1 of each of 3 images"),
        ({"image_to_text ranks": np.array([1.0, 2, 3])}, "holds float64"),
        ({"more": np.array([1])}, "no ranks of both directions"),
        ({"image_ids": [1, 2, 2]}, "an image has two rows"),
        ({"image_ids": [1, 2]}, "of each of 2 images"),
        ({"image_ids": 3}, "Expected `array`"),
    ],
)
def test_another_file_is_refused(changed: dict[str, Any], message: str, tmp_path: Path):
    content: dict[str, Any] = {
        "image_to_text ranks": np.array([1, 2, 3]),
        "image_to_text images": np.arange(3),
        "text_to_image ranks": np.array([1, 2, 3, 1, 1]),
        "text_to_image images": OWNERS,
        "image_ids": [1, 2, 3],
    } | changed
    metadata = {"image_ids": json.dumps(content.pop("image_ids")), "sentences": digest(TEXTS)}
    save_file(content, tmp_path / "r", metadata=metadata)
    with pytest.raises(InputError, match=f"expected the ranks of a matcher .*{message}.*; evaluate again"):
        load_ranks(tmp_path / "r")


def test_a_missing_or_damaged_file_and_one_without_metadata_are_refused(tmp_path: Path):
    names = (f"{name} {of}" for name in ("image_to_text", "text_to_image") for of in ("ranks", "images"))
    save_file({name: np.array([1]) for name in names}, tmp_path / "bare")
    (tmp_path / "junk").write_bytes(b"junk")
    for name in ("bare", "junk", "nowhere"):
        with pytest.raises(InputError, match="expected the ranks of a matcher"):
            load_ranks(tmp_path / name)
