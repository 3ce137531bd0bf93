"""Intervals and tests of word detectors, against loops that score every sample anew."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import uncertainty
from captioning.metrics.uncertainty import Comparison, p_values
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import AGREEMENT, DETECTION, evaluate
from captioning.metrics.word_uncertainty import compare, intervals

NAMES = DETECTION + AGREEMENT
CLASSES = {"dog": "NN", "runs": "VB", "cat": "NN", "bird": "NN"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def detector(seed: int, num_images: int = 7) -> tuple[WordCounts, NDArray[np.float64]]:
    """Four words, the last of which does not occur, and scores with ties that know a little."""
    drawn = rng(seed)
    present = drawn.random((num_images, 4)) < (0.5, 0.3, 0.4, 0)
    counts = drawn.binomial(5, 0.5 * present)
    counts[0] = 1, 2, 1, 0
    return WordCounts(tuple(CLASSES), counts), np.round(counts + drawn.normal(0, 1.5, counts.shape))


def ignoring(seed: int) -> tuple[WordCounts, NDArray[np.float64]]:
    """The same, with pairs that are ignored."""
    counts, scores = detector(seed)
    ignored = rng(seed + 100).random(scores.shape) < 0.3
    ignored[0] = False
    return WordCounts(counts.words, np.where(ignored, 0, counts.counts), ignored), scores


def listed(counts: WordCounts, images: Any) -> WordCounts:
    """The counts of a list of images, in which one may be several times."""
    ignored = None if counts.ignored is None else counts.ignored[images]
    return WordCounts(counts.words, counts.counts[images], ignored)


def scored(counts: WordCounts, scores: NDArray[np.float64], images: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """The means of a list of images."""
    return evaluate(listed(counts, images), scores[images]).means(CLASSES)


def drawn_images(seed: int, num_replicates: int, num_images: int = 7) -> NDArray[np.int64]:
    return rng(seed).integers(num_images, size=(num_replicates, num_images))


@pytest.mark.parametrize("of_seed", [detector, ignoring])
def test_intervals_are_those_of_samples_that_are_each_scored_anew(of_seed: Any):
    counts, scores = of_seed(1)
    observed = evaluate(counts, scores).means(CLASSES)
    samples = [scored(counts, scores, images) for images in drawn_images(2, 60)]
    assert any("VB" not in means for means in samples)  # a sample without a word of the class does not count for it
    found = intervals(counts, scores, rng(2), classes=CLASSES, num_replicates=60, confidence=0.8)
    assert list(found) == ["NN", "VB", "all"]
    for name, values in found.items():
        assert list(values) == list(NAMES)
        for value, interval in values.items():
            replicates = np.array([means[name][value] for means in samples if name in means])
            ends = observed[name][value] + np.quantile(replicates - replicates.mean(), [0.1, 0.9])
            assert astuple(interval) == pytest.approx((observed[name][value], *ends))
            assert {type(part) for part in astuple(interval)} == {float}


@pytest.mark.parametrize("of_seed", [detector, ignoring])
def test_the_interval_of_a_difference_is_that_of_the_same_samples_for_both(of_seed: Any):
    counts, first = of_seed(3)
    second = rng(4).normal(size=first.shape)
    found = compare(counts, [first], [second], rng(5), classes=CLASSES, num_replicates=60)
    assert list(found) == ["NN", "VB", "all"]
    pairs = [[scored(counts, scores, images) for scores in (first, second)] for images in drawn_images(5, 60)]
    observed = [evaluate(counts, scores).means(CLASSES) for scores in (first, second)]
    for name, values in found.items():
        assert list(values) == list(DETECTION)
        for value, comparison in values.items():
            difference = observed[0][name][value] - observed[1][name][value]
            replicates = np.array([one[name][value] - other[name][value] for one, other in pairs if name in one])
            ends = difference + np.quantile(replicates - replicates.mean(), [0.025, 0.975])
            assert astuple(comparison)[:3] == pytest.approx((difference, *ends))


def ranks(scores: NDArray[np.float64], ignored: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """The place of each score in its column, from below; the mean place of equal ones."""
    counted = np.ones(scores.shape, bool) if ignored is None else ~ignored
    lower = ((scores[None] < scores[:, None]) & counted[None]).sum(axis=1)
    equal = ((scores[None] == scores[:, None]) & counted[None]).sum(axis=1)
    return lower + (equal + 1) / 2


@pytest.mark.parametrize("of_seed", [detector, ignoring])
def test_the_p_value_is_that_of_exchanged_ranks(of_seed: Any):
    counts, first = of_seed(6)
    second = 100 * rng(7).normal(size=first.shape)  # another scale
    found = compare(counts, [first], [second], rng(8), num_replicates=50)["all"]
    generator = rng(8)
    generator.integers(7, size=(50, 7))  # the samples of the interval
    differences = []
    for own in generator.integers(0, 2, (50, 7)).astype(bool)[:, :, None]:
        one, other = ranks(first, counts.ignored), ranks(second, counts.ignored)
        systems = np.where(own, one, other), np.where(own, other, one)
        one, other = (evaluate(counts, system).means()["all"] for system in systems)
        differences.append([one[value] - other[value] for value in DETECTION])
    observed = [found[value].difference for value in DETECTION]
    assert [found[value].p_value for value in DETECTION] == pytest.approx(
        p_values(np.array(differences), np.array(observed))
    )


def test_detectors_that_rank_alike_do_not_differ_whatever_their_scales():
    counts, scores = detector(9)
    found = compare(counts, [scores], [np.exp(scores) - 9], rng())["all"]
    assert found == dict.fromkeys(DETECTION, Comparison(0, 0, 0, 1))


def test_runs_are_averaged_on_the_same_samples_and_exchanged_in_pairs():
    counts, first = detector(20)
    runs = (
        [first, rng(21).normal(size=first.shape)],
        [rng(22).normal(size=first.shape), rng(23).normal(size=first.shape)],
    )
    found = compare(counts, *runs, rng(24), num_replicates=40)["all"]
    generator = rng(24)
    samples = generator.integers(7, size=(40, 7))

    def difference(systems: Any, images: Any = slice(None)) -> NDArray[np.float64]:
        sample = WordCounts(counts.words, counts.counts[images])
        means = [[evaluate(sample, scores[images]).means()["all"] for scores in system] for system in systems]
        return np.array([np.mean([m[v] for m in means[0]]) - np.mean([m[v] for m in means[1]]) for v in DETECTION])

    observed = difference(runs)
    drawn = np.array([difference(runs, images) for images in samples])
    exchanged = []
    for own in generator.integers(0, 2, (40, 7)).astype(bool)[:, :, None]:
        pairs = [(ranks(one), ranks(other)) for one, other in zip(*runs, strict=True)]
        mixed = [(np.where(own, a, b), np.where(own, b, a)) for a, b in pairs]
        exchanged.append(difference(list(zip(*mixed, strict=True))))
    p = p_values(np.array(exchanged), observed)
    for j, value in enumerate(DETECTION):
        ends = observed[j] + np.quantile(drawn[:, j] - drawn[:, j].mean(), [0.025, 0.975])
        assert astuple(found[value]) == pytest.approx((observed[j], *ends, p[j]))


def test_runs_of_unequal_number_are_refused():
    counts, scores = detector(25)
    for first, second in (([scores], [scores, scores]), ([], [])):
        with pytest.raises(InputError, match="as many runs of both detectors; found"):
            compare(counts, first, second, rng())


def test_a_clearly_better_detector_is_found_and_exchanged_detectors_differ_the_other_way():
    counts, better = detector(10, 200)
    worse = rng(11).normal(size=better.shape)
    there, back = (
        compare(counts, [one], [other], rng())["all"]["AP"] for one, other in ((better, worse), (worse, better))
    )
    assert there.low > 0.2
    assert there.p_value == 1 / 1001
    assert astuple(back) == pytest.approx((-there.difference, -there.high, -there.low, there.p_value))


def rare(generator: np.random.Generator) -> tuple[WordCounts, NDArray[np.float64], NDArray[np.float64]]:
    """Sixty images and twenty words, of which most are rare, and two equally good detectors."""
    present = generator.random((60, 20)) < 1 / np.arange(1, 21)
    counts = generator.binomial(5, np.where(present, 0.35, 0.002))
    one, other = (present + generator.normal(0, 0.8, counts.shape) for _ in range(2))
    return WordCounts(tuple(map(str, range(20))), counts), one, other


def test_rare_words_move_no_interval_off_its_score():
    counts, scores, _ = rare(rng(12))
    for interval in intervals(counts, scores, rng(), num_replicates=200)["all"].values():
        assert interval.low < interval.score < interval.high


@pytest.mark.slow
def test_equally_good_detectors_seldom_differ():
    drawn = rng(13)
    low = []
    for _ in range(400):
        counts, one, other = rare(drawn)
        found = compare(counts, [one], [other], drawn, num_replicates=99)["all"]
        low.append([c.p_value < 0.1 for c in found.values()])
    assert np.mean(low, axis=0) == pytest.approx([0.1, 0.1], abs=0.045)  # three standard errors


def test_what_fits_into_memory_does_not_change_the_draws(monkeypatch: pytest.MonkeyPatch):
    counts, first = detector(14)
    second = rng(15).normal(size=first.shape)

    def run() -> list[Any]:
        return [
            intervals(counts, first, rng(16), num_replicates=30)["all"],
            compare(counts, [first], [second], rng(16), num_replicates=30)["all"],
        ]

    whole = run()
    monkeypatch.setattr(uncertainty, "_BLOCK", 100)
    for found, expected in zip(run(), whole, strict=True):
        for name in expected:
            assert astuple(found[name]) == pytest.approx(astuple(expected[name]))


def test_a_class_that_no_sample_has_is_refused():
    counts = WordCounts(("dog", "runs"), np.array([[5, 1], *[[5, 0]] * 40]))
    with pytest.raises(InputError, match="none of 2 samples of the images has a word of the class 'VB'; draw more"):
        intervals(counts, np.zeros((41, 2)), rng(2), classes=CLASSES, num_replicates=2)  # draws no first image


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_replicates": 1}, "at least 2 replicates"),
        ({"confidence": 95}, "a confidence between 0 and 1"),
        ({"classes": {"dog": "NN"}}, "for each of 3 words; 2 have none, the first is 'runs'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str):
    counts, scores = detector(18)
    with pytest.raises(InputError, match=message):
        intervals(counts, scores, rng(), **options)
    with pytest.raises(InputError, match=message):
        compare(counts, [scores], [scores], rng(), **options)


def test_wrong_scores_of_either_detector_are_refused():
    counts, scores = detector(19)
    for first, second in ((scores[:, :3], scores), (scores, scores[:, :3])):
        with pytest.raises(InputError, match=r"7 images and 4 words; found the shape \(7, 3\)"):
            compare(counts, [first], [second], rng())
