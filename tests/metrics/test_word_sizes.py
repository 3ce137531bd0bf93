"""Words scored by the size of what they mention, against a loop over images and words in pure Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import evaluate
from captioning.metrics.word_sizes import SIZES, WordSizes, thirds

LIMITS = 0.1, 0.3
RANGES = {"small": (-1, 0.1), "medium": (0.1, 0.3), "large": (0.3, 2)}
WORDS = ("dog", "red")
PAIRS = st.tuples(
    st.integers(0, 5), st.sets(st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]), max_size=2), st.integers(0, 3)
)
IMAGES = st.lists(st.tuples(PAIRS, PAIRS), min_size=1, max_size=12)
"""For each image and word: the references that have it, the areas that they mention, and the detector's score."""


def looped(images: Any, word: int, size: str) -> float | None:
    """AP by its definition over the images that are not ignored; None if no image is right."""
    low, high = RANGES[size]
    ranked = []
    for image in images:
        count, areas, score = image[word]
        if count == 0:
            ranked.append((0, score))
        elif any(low < area <= high for area in areas):
            ranked.append((count, score))
    whole = sum(count for count, _ in ranked) * 4
    if not whole:
        return None
    curve = []
    for least in sorted({score for _, score in ranked}, reverse=True):
        said = [count for count, score in ranked if score >= least]
        tp = sum(4 * count for count in said)
        fp = sum({0: 5, 1: 1}.get(count, 0) for count in said)
        curve.append((tp / (tp + fp), tp / whole))
    recalls = [0, *(recall for _, recall in curve)]
    return sum((recalls[n + 1] - recalls[n]) * max(p for p, _ in curve[n:]) for n in range(len(curve)))


@given(IMAGES)
def test_ap_of_a_size_equals_a_loop_that_skips_what_mentions_other_sizes(images: Any) -> None:
    counts, scores = (np.array([[pair[part] for pair in image] for image in images]) for part in (0, 2))
    areas = {(i, w): found for i, image in enumerate(images) for w, (c, found, _) in enumerate(image) if c and found}
    found = WordSizes.of(areas, LIMITS, counts.shape).within(WordCounts(WORDS, counts))
    for size in SIZES:
        expected = {word: looped(images, w, size) for w, word in enumerate(WORDS)}
        expected = {word: value for word, value in expected.items() if value is not None}
        assert (size in found) == bool(expected)
        if expected:
            table = evaluate(found[size], scores.astype(float))
            assert dict(zip(table.words, table.values["AP"], strict=True)) == pytest.approx(expected)


def test_by_hand() -> None:
    #                  two sizes  large   no object  not said
    counts = np.array([[5, 2],    [1, 0], [3, 4],    [0, 0]])  # fmt: skip
    sizes = WordSizes.of({(0, 0): [0.1, 0.4], (1, 0): [0.31]}, LIMITS, (4, 2))
    assert sizes.sizes.tolist() == [[5, 0], [4, 0], [0, 0], [0, 0]]
    found = sizes.within(WordCounts(WORDS, counts))
    assert list(found) == ["small", "large"]
    assert found["small"].counts.tolist() == [[5, 0], [0, 0], [0, 0], [0, 0]]
    assert found["small"].ignored.tolist() == [[False] * 2, [True, False], [True, False], [False] * 2]  # type: ignore[union-attr]
    assert found["large"].counts.tolist() == [[5, 0], [1, 0], [0, 0], [0, 0]]
    assert found["large"].occurring.words == ("dog",)  # "red" mentions no object


def test_thirds_divide_areas_into_equal_parts() -> None:
    areas = np.random.default_rng(0).random(30)
    low, high = thirds(areas)
    assert [(areas <= low).sum(), ((areas > low) & (areas <= high)).sum(), (areas > high).sum()] == [10, 10, 10]
    assert thirds(np.array([0.5])) == (0.5, 0.5)


@pytest.mark.parametrize("limits", [(0.3, 0.1), (-0.1, 0.1), (0.1, 1.1), (float("nan"), 0.1)])
def test_wrong_limits_are_refused(limits: Any) -> None:
    with pytest.raises(InputError, match="two limits of areas from 0 to 1, the lower one first"):
        WordSizes(limits, np.zeros((2, 2), np.uint8))


def test_sizes_of_another_form_or_other_images_are_refused() -> None:
    for sizes in (np.zeros(2, np.uint8), np.zeros((2, 2), int), np.full((2, 2), 8, np.uint8)):
        with pytest.raises(InputError, match=r"sizes as uint8 \(images, words\) below 8"):
            WordSizes(LIMITS, sizes)
    with pytest.raises(InputError, match=r"3 images and 2 words, as the sizes are; found the shape \(2, 2\)"):
        WordSizes(LIMITS, np.zeros((3, 2), np.uint8)).within(WordCounts(WORDS, np.ones((2, 2), int)))
