"""Average precision, human agreement and chance, against loops over their definitions and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from captioning.data.readers.flickr8k import Flickr8k
from captioning.errors import InputError
from captioning.metrics.word_counts import WordCounts, count_words
from captioning.metrics.word_detection import AGREEMENT, DETECTION, agreement, detections, evaluate
from captioning.text import train_words
from captioning.text.penn_treebank import ptb_normalizer

K = 5


def word(counts: Any, scores: Any) -> dict[str, float]:
    """The values of one word."""
    table = evaluate(WordCounts(("dog",), np.array(counts)[:, None]), np.array(scores, float)[:, None])
    return {name: float(of[0]) for name, of in table.values.items()}


def curve(counts: Any, scores: Any) -> tuple[list[float], list[float]]:
    """P and R after the images of each score, one image at a time, as the official code adds up."""
    tp = fp = 0.0
    precisions, recalls = [], []
    positives = sum(c * (K - 1) / K for c in counts)
    for score in sorted(set(scores), reverse=True):
        for c, own in zip(counts, scores, strict=True):
            if own == score:
                tp += c * (1 - 1 / K)
                fp += 1 if c == 0 else 1 / K if c == 1 else 0
        precisions.append(tp / (tp + fp))
        recalls.append(tp / positives)
    return precisions, recalls


def looped(counts: Any, scores: Any) -> tuple[float, float]:
    """AP and PHR by their definitions."""
    precisions, recalls = curve(counts, scores)
    area = sum((recall - ([0, *recalls])[n]) * max(precisions[n:]) for n, recall in enumerate(recalls))
    tp = sum(c * (c - 1) / K for c in counts)
    human = tp / sum(c * (K - 1) / K for c in counts)
    return area, next(p for p, r in zip(precisions, recalls, strict=True) if r >= human - 1e-12)


COUNTS_AND_SCORES = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2, 5]), st.integers(0, 7)), min_size=1, max_size=40
).filter(lambda images: any(c for c, _ in images))


@given(COUNTS_AND_SCORES)
def test_ap_and_phr_equal_a_loop_over_their_definitions_also_with_ties(images: list[tuple[int, int]]) -> None:
    counts, scores = zip(*images, strict=True)
    found = word(counts, scores)
    assert (found["AP"], found["PHR"]) == pytest.approx(looped(counts, scores))


@given(COUNTS_AND_SCORES, st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_a_sample_of_images_is_scored_as_a_list_of_its_images(images: list[tuple[int, int]], times: list[int]) -> None:
    counts, scores = (np.array(column) for column in zip(*images, strict=True))
    drawn = np.array([times[: len(images)], times[-len(images) :]], np.float32).T
    own = WordCounts(("dog",), counts[:, None])
    found = np.concatenate([detections(own, scores[:, None].astype(float), drawn), agreement(own, drawn)])[:, 0]
    for sample, values in zip(drawn.T.astype(int), found.T, strict=True):
        listed = np.repeat(counts, sample), np.repeat(scores, sample)
        if listed[0].any():
            expected = word(*listed)
            assert values == pytest.approx([expected[name] for name in DETECTION + AGREEMENT])
        else:
            assert np.isnan(values).all()


@given(COUNTS_AND_SCORES, COUNTS_AND_SCORES, st.randoms())
def test_an_ignored_image_is_left_out_of_the_ranking_of_its_word_alone(one: Any, other: Any, random: Any) -> None:
    size = min(len(one), len(other))
    words = [list(zip(*column[:size], strict=True)) for column in (one, other)]
    counts, scores = np.array([c for c, _ in words]).T, np.array([s for _, s in words], float).T
    ignored = np.array([[random.random() < 0.4 for _ in words] for _ in range(size)])
    counts[ignored] = 0
    if not counts.any():
        return
    table = evaluate(WordCounts(("dog", "cat"), counts, ignored), scores)
    expected = [word(c[~left], s[~left]) for c, s, left in zip(counts.T, scores.T, ignored.T, strict=True) if c.any()]
    for name, values in table.values.items():
        assert values == pytest.approx([of[name] for of in expected])


@given(COUNTS_AND_SCORES, st.randoms())
def test_values_do_not_depend_on_the_order_of_images(images: list[tuple[int, int]], random: Any) -> None:
    shuffled = random.sample(images, len(images))
    assert word(*zip(*shuffled, strict=True)) == word(*zip(*images, strict=True))


def test_values_by_hand() -> None:
    # tp 3.2, 0, 0.8, 1.6, 0 and fp 0, 1, 0.2, 0, 1; their sums give P = 1, 0.762, 0.769, 0.824, 0.718.
    found = word([4, 0, 1, 2, 0], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert found["AP"] == pytest.approx((3.2 * 1 + 0.8 * 5.6 / 6.8 + 1.6 * 5.6 / 6.8) / 5.6)
    assert found["chance"] == pytest.approx(5.6 / 7.8)
    # Of 7 mentions, 4 agree with 3 others and 2 with 1: tp = (12 + 2) / 5, fp = 1 / 5.
    assert found["human_precision"] == pytest.approx(14 / 15)
    assert found["human_recall"] == pytest.approx(2.8 / 5.6)
    assert found["PHR"] == 1  # the first image alone has a recall of 3.2 / 5.6


def test_an_image_that_only_one_reference_names_counts_against_the_detector_a_little() -> None:
    assert word([1, 0], [2, 1])["AP"] == pytest.approx(0.8)
    assert word([2, 0], [2, 1])["AP"] == 1


def test_a_perfect_detector_beats_people_who_disagree() -> None:
    found = word([5, 5, 1, 1, 0], [5, 4, 3, 2, 1])
    assert found["PHR"] == 1 > found["human_precision"] == pytest.approx(40 / 42)


def test_without_agreement_human_values_are_0_and_phr_is_that_of_the_highest_score() -> None:
    found = word([1, 0, 1], [1, 2, 0])
    assert (found["human_precision"], found["human_recall"], found["PHR"]) == (0, 0, 0)
    assert word([1, 0, 1], [3, 2, 0])["PHR"] == pytest.approx(0.8)
    assert word([1, 0, 1], [3, 3, 0])["PHR"] == pytest.approx(0.8 / 2)


def test_equal_scores_of_all_images_have_the_ap_of_chance() -> None:
    found = word([5, 0, 1, 0, 2], [7] * 5)
    assert found["AP"] == found["PHR"] == found["chance"] == pytest.approx(6.4 / 8.6)


def test_logarithms_of_0_rank_last() -> None:
    assert word([0, 3, 0], [-1, -0.5, -math.inf]) == word([0, 3, 0], [1, 2, 0])


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_any_integers_are_counts(kind: Any) -> None:
    counts = np.array([5, 0, 1, 2], kind)
    assert word(counts, [1, 2, 3, 4]) == word([5, 0, 1, 2], [1, 2, 3, 4])


def three_words() -> tuple[WordCounts, NDArray[np.float64]]:
    counts = WordCounts(("dog", "runs", "cat"), np.array([[5, 0, 1], [0, 0, 2]]))
    return counts, np.array([[1.0, 1, 2], [2, 1, 1]])


def test_words_that_do_not_occur_are_named_and_count_in_no_mean() -> None:
    table = evaluate(*three_words())
    assert (table.words, table.absent) == (("dog", "cat"), ("runs",))
    dog, cat = word([5, 0], [1, 2]), word([1, 2], [2, 1])
    assert table.means() == {
        "all": {"words": 2, **{name: pytest.approx((dog[name] + cat[name]) / 2) for name in DETECTION + AGREEMENT}}
    }


def test_means_of_classes_are_those_of_their_words() -> None:
    means = evaluate(*three_words()).means({"cat": "JJ", "runs": "VB", "dog": "NN"})
    assert list(means) == ["NN", "JJ", "all"]  # no verb occurs
    assert means["NN"] == {"words": 1, **word([5, 0], [1, 2])}
    assert means["JJ"] == {"words": 1, **word([1, 2], [2, 1])}


@pytest.mark.parametrize("classes", [{"dog": "NN"}, {"dog": "NN", "cat": "noun"}])
def test_words_without_a_class_are_refused(classes: dict[str, str]) -> None:
    with pytest.raises(InputError, match="for each of 2 words; 1 have none, the first is 'cat'"):
        evaluate(*three_words()).means(classes)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((3, 2)), r"each of 2 images and 3 words; found the shape \(3, 2\)"),
        (np.array([[1, np.nan, 1], [0, 0, np.nan]]), "scores that rank images; 2 of 6 are NaN"),
    ],
)
def test_wrong_scores_are_refused(scores: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(three_words()[0], scores)


def test_references_without_any_of_the_words_are_refused() -> None:
    with pytest.raises(InputError, match="none of the 2 words occurs in the references; tokenize them as"):
        evaluate(WordCounts(("Dog", "Cat"), np.zeros((3, 2), int)), np.zeros((3, 2)))


@pytest.mark.shared
def test_people_reach_these_values_on_flickr8k(shared: Any) -> None:
    reader, normalizer = Flickr8k(str(shared / "data" / "flickr8k")), ptb_normalizer()
    captions = [caption for image in reader.read("train", check_files=False) for caption in image.captions]
    words = train_words(captions).vocabulary[4:1004]  # the most frequent first
    dev = [image.captions for image in reader.read("val", check_files=False)]
    counts = count_words([[normalizer.normalize_str(text) for text in group] for group in dev], words)
    table = evaluate(counts, np.zeros(counts.counts.shape))
    assert len(table.absent) == 16
    found = table.means()["all"]
    assert [found[name] for name in AGREEMENT] == pytest.approx([0.460, 0.201, 0.030], abs=5e-4)
    assert found["AP"] == pytest.approx(found["chance"])
