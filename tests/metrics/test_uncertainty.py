from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import uncertainty
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider
from captioning.metrics.metric import Metric
from captioning.metrics.resources import Resources
from captioning.metrics.uncertainty import Comparison, Interval, approximate_randomization, bootstrap


class Mean(Metric):
    """The mean of one number per image, and its double: scores whose distribution is known."""

    names = ("mean", "double")

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:
        return rows([float(candidate) for candidate in candidates])

    @classmethod
    def of(cls, resources: Resources) -> Self:
        return cls()

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        return totals[..., :1] / totals[..., 1:] * [1, 2]


def rows(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([values, np.ones(len(values))])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal_p_value(values: NDArray[np.float64]) -> float:
    """Two-sided, of the mean of many values being 0."""
    return math.erfc(abs(values.mean()) / (values.std() / math.sqrt(len(values))) / math.sqrt(2))


@pytest.mark.parametrize(("confidence", "deviations"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_interval_of_a_mean_is_that_of_the_normal_approximation(confidence: float, deviations: float):
    values = rng(1).exponential(size=1000)
    found = bootstrap(Mean(), rows(values), rng(), num_replicates=10_000, confidence=confidence)["mean"]
    error = values.std() / math.sqrt(1000)
    assert found.score == pytest.approx(values.mean())
    # A quantile of 10,000 replicates is off by a few hundredths of the standard error.
    assert found.low == pytest.approx(values.mean() - deviations * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + deviations * error, abs=0.1 * error)


def test_interval_of_a_share_holds_the_true_one_as_often_as_said():
    drawn = rng(2)
    covered = 0
    for _ in range(400):
        interval = bootstrap(Mean(), rows(drawn.random(200) < 0.4), drawn, num_replicates=300)["mean"]
        covered += interval.low <= 0.4 <= interval.high
    assert covered / 400 == pytest.approx(0.95, abs=0.033)  # three standard errors


def test_every_score_has_an_interval():
    found = bootstrap(Mean(), rows(np.arange(50.0)), rng())
    single, double = found["mean"], found["double"]
    assert astuple(double) == pytest.approx([2 * value for value in astuple(single)])
    assert {type(value) for value in astuple(single)} == {float}


def test_replicates_are_corpora_and_not_means_of_images():
    references = [["a dog runs on the grass"], ["a red bus"], ["two men wait"]]
    bleu = Bleu(references)
    statistics = bleu.statistics(["a dog on the grass", "the red bus", "two men"])
    drawn = rng(3).integers(3, size=(200, 3))
    corpora = [bleu.scores(statistics[images].sum(axis=0))[0] for images in drawn]
    found = bootstrap(bleu, statistics, rng(3), num_replicates=200)["BLEU-1"]
    assert [found.low, found.high] == pytest.approx(np.quantile(corpora, [0.025, 0.975]))


def test_systems_that_are_the_same_do_not_differ():
    cider = Cider([["a dog runs"], ["a red bus"], ["two men wait"]])
    statistics = cider.statistics(["a dog", "the red bus", "two men"])
    assert approximate_randomization(cider, statistics, statistics, rng()) == {"CIDEr": Comparison(0, 0, 0, 1)}


def test_a_clearly_better_system_is_found():
    worse = rng(4).random(200)
    found = approximate_randomization(
        Mean(), rows(worse + 0.3 + 0.1 * rng(5).random(200)), rows(worse), rng(), num_replicates=999
    )
    assert found["mean"].difference == pytest.approx(0.35, abs=0.01)
    assert 0.3 < found["mean"].low < found["mean"].difference < found["mean"].high < 0.4
    assert found["mean"].p_value == 1 / 1000  # none of the replicates, and the observed one itself


def test_p_value_is_that_of_the_normal_approximation():
    first, second = rng(6).normal(0.04, size=2000), rng(15).normal(size=2000)
    expected = normal_p_value(first - second)
    assert 0.05 < expected < 0.5
    found = approximate_randomization(Mean(), rows(first), rows(second), rng(), num_replicates=10_000)["mean"]
    assert found.p_value == pytest.approx(expected, abs=0.02)


def test_exchanged_systems_differ_the_other_way():
    first, second = rows(rng(7).normal(size=100)), rows(rng(8).normal(size=100))
    there, back = (
        approximate_randomization(Mean(), first, second, rng())["mean"],
        approximate_randomization(Mean(), second, first, rng())["mean"],
    )
    assert astuple(back) == pytest.approx((-there.difference, -there.high, -there.low, there.p_value))


@pytest.mark.parametrize("offset", [0, 0.1, 0.7])  # what is added to both rounds each sum in another way
def test_randomization_of_three_images_is_the_share_of_their_exchanges(offset: float):
    # Of the 8 ways to give differences of 1, 2 and 4 a sign, two are as far from 0 as 1 + 2 + 4, all as 1 + 2 - 4.
    for values, share in (([1, 2, 4], 2 / 8), ([1, 2, -4], 1)):
        first, second = rows(0.1 * np.array(values) + offset), rows(np.full(3, offset))
        found = approximate_randomization(Mean(), first, second, rng(), num_replicates=20_000)["mean"]
        assert found.p_value == pytest.approx(share, abs=0.01)


def test_comparing_on_the_same_images_sees_more_than_two_intervals_do():
    hard = rng(9).normal(size=300)  # images differ much more than the systems do
    first, second = rows(hard + 0.1), rows(hard)
    intervals = [bootstrap(Mean(), statistics, rng())["mean"] for statistics in (first, second)]
    assert intervals[0].low < intervals[1].high
    assert approximate_randomization(Mean(), first, second, rng())["mean"].p_value < 0.01


def run_all(seed: int) -> list[Any]:
    first, second = rows(rng(10).normal(size=41)), rows(rng(11).normal(size=41))
    return [
        bootstrap(Mean(), first, rng(seed)),
        approximate_randomization(Mean(), first, second, rng(seed), num_replicates=1000),
    ]


def test_a_seed_gives_the_same_again_and_another_does_not():
    assert run_all(12) == run_all(12)
    assert all(one != other for one, other in zip(run_all(12), run_all(13), strict=True))


def test_what_fits_into_memory_does_not_change_the_draws(monkeypatch: pytest.MonkeyPatch):
    expected = run_all(14)
    monkeypatch.setattr(uncertainty, "_BLOCK", 300)
    for found, whole in zip(run_all(14), expected, strict=True):
        for name in whole:
            assert astuple(found[name]) == pytest.approx(astuple(whole[name]))


def test_one_image_is_certain():
    assert bootstrap(Mean(), rows([3.0]), rng())["mean"] == Interval(3, 3, 3)


def test_statistics_of_other_images_are_refused():
    with pytest.raises(InputError, match=r"those of the same images; found the shapes \(2, 2\), \(3, 2\)"):
        approximate_randomization(Mean(), rows([1.0, 2.0]), rows([1.0, 2.0, 3.0]), rng())


@pytest.mark.parametrize(
    ("statistics", "options", "message"),
    [
        (np.ones((0, 2)), {}, r"of at least one image.*found the shapes \(0, 2\)"),
        (np.ones(2), {}, r"expected statistics \(I, S\).*found the shapes \(2,\)"),
        (np.ones((3, 2)), {"num_replicates": 1}, "at least 2 replicates, better 1000; found num_replicates=1"),
        (np.ones((3, 2)), {"confidence": 95}, "a confidence between 0 and 1, such as 0.95; found 95"),
    ],
)
def test_wrong_arguments_are_refused(statistics: Any, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        bootstrap(Mean(), statistics, rng(), **options)
