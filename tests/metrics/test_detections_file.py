"""What detectors say about images is kept without loss of what is computed from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from captioning.errors import InputError
from captioning.metrics.detections_file import Detections, load_detections
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import evaluate
from captioning.metrics.word_sizes import WordSizes

COUNTS = WordCounts(("dog", "cat", "unseen"), np.array([[5, 0, 0], [1, 2, 0], [0, 3, 0]], np.int8))
SCORES = np.array([[0.5, 0.1, 0.9], [0.25, 0.1, 0.3], [0.5, 1e-9, 0.3]])


def test_a_file_holds_the_order_of_the_images_for_each_word_that_occurs(tmp_path: Path):
    path = tmp_path / "detections.safetensors"
    Detections.of([3, "x.jpg", 7], COUNTS, SCORES).save(path)
    kept = load_detections(path)
    assert kept.image_ids == [3, "x.jpg", 7]
    assert kept.counts.words == ("dog", "cat")
    assert kept.counts.counts.tolist() == [[5, 0], [1, 2], [0, 3]]
    assert kept.order.tolist() == [[1, 1], [0, 1], [1, 0]]


@given(arrays(np.float64, (7, 3), elements=st.sampled_from([0.0, 1e-30, 1e-20, 0.5, np.nextafter(0.5, 1), 1.0])))
def test_the_order_has_the_scores_of_the_probabilities(scores: Any):
    counts = WordCounts(("a", "b", "c"), np.random.default_rng(0).integers(0, 6, (7, 3)))
    kept = Detections.of(range(7), counts, scores)
    for name, values in evaluate(counts, scores).values.items():
        np.testing.assert_array_equal(values, evaluate(kept.counts, kept.order.astype(np.float64)).values[name])


@pytest.mark.parametrize("num_images", [200, 300, 70_000])
def test_any_number_of_images_has_an_order(num_images: int, tmp_path: Path):
    counts = WordCounts(("a",), np.ones((num_images, 1), np.int8))
    order = np.random.default_rng(0).permutation(num_images)
    Detections.of(range(num_images), counts, order[:, None] / num_images).save(tmp_path / "d")
    np.testing.assert_array_equal(load_detections(tmp_path / "d").order[:, 0], order)


def test_a_file_holds_the_sizes_of_the_words_that_occur(tmp_path: Path):
    sizes = WordSizes((0.125, 0.3), np.array([[1, 0, 7], [0, 6, 0], [0, 2, 0]], np.uint8))
    Detections.of(range(3), COUNTS, SCORES, sizes).save(tmp_path / "d")
    kept = load_detections(tmp_path / "d").sizes
    assert kept is not None
    assert (kept.limits, kept.sizes.tolist()) == ((0.125, 0.3), [[1, 0], [0, 6], [0, 2]])
    Detections.of(range(3), COUNTS, SCORES).save(tmp_path / "d")
    assert load_detections(tmp_path / "d").sizes is None


@pytest.mark.parametrize(
    ("sizes", "limits", "message"),
    [
        (np.ones((2, 1), np.uint8), None, "sizes without the limits of areas"),
        (None, [0.1, 0.2], "sizes without the limits of areas, or the reverse"),
        (np.ones((2, 1), np.uint8), [0.1], "Expected `array`"),
        (np.ones((2, 1), np.uint8), [0.2, 0.1], "two limits of areas from 0 to 1"),
        (np.ones((2, 1), np.uint16), [0.1, 0.2], "sizes as uint8"),
        (np.full((2, 1), 8, np.uint8), [0.1, 0.2], r"sizes as uint8 \(images, words\) below 8"),
        (np.ones((1, 1), np.uint8), [0.1, 0.2], "of the same shape"),
    ],
)
def test_other_sizes_are_refused(sizes: Any, limits: Any, message: str, tmp_path: Path):
    content = {"counts": np.ones((2, 1), np.uint8), "order": ORDER} | ({} if sizes is None else {"sizes": sizes})
    metadata = {"words": '["dog"]', "image_ids": "[1, 2]"} | ({} if limits is None else {"area_limits": str(limits)})
    save_file(content, tmp_path / "d", metadata=metadata)
    with pytest.raises(InputError, match=f"expected what a word detector says .*{message}.*; evaluate again"):
        load_detections(tmp_path / "d")


ORDER = np.zeros((2, 1), np.uint8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"order": np.zeros((1, 1), np.uint8)}, "no counts and order of the same shape"),
        ({"other": ORDER}, "no counts and order of the same shape"),
        ({"order": np.zeros((2, 1))}, "holds float64"),
        ({"counts": np.full((2, 1), 6, np.uint8)}, "expected counts from 0 to 5"),
        ({"counts": ORDER}, "words that occur in no reference"),
        ({"words": ["dog", "cat"]}, "2 words"),
        ({"words": [1]}, "Expected `str`"),
        ({"image_ids": [1]}, "1 different ids of 2 images"),
        ({"image_ids": [1, 1]}, "1 different ids of 2 images"),
        ({"image_ids": None}, "Expected `array`"),
    ],
)
def test_another_file_is_refused(changed: dict[str, Any], message: str, tmp_path: Path):
    content = {"counts": np.ones((2, 1), np.uint8), "order": ORDER, "words": ["dog"], "image_ids": [1, 2]} | changed
    metadata = {name: json.dumps(content.pop(name)) for name in ("words", "image_ids")}
    save_file(content, tmp_path / "d", metadata=metadata)
    with pytest.raises(InputError, match=f"expected what a word detector says .*{message}.*; evaluate again"):
        load_detections(tmp_path / "d")


def test_a_missing_or_damaged_file_and_one_without_metadata_are_refused(tmp_path: Path):
    save_file({"counts": ORDER, "order": ORDER}, tmp_path / "bare")
    (tmp_path / "junk").write_bytes(b"junk")
    for name in ("bare", "junk", "nowhere"):
        with pytest.raises(InputError, match="expected what a word detector says about each image"):
            load_detections(tmp_path / name)
