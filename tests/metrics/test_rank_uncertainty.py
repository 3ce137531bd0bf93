"""Tests of matchers' ranks, against loops over samples and exchanges."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import uncertainty
from captioning.metrics.rank_uncertainty import Run, compare
from captioning.metrics.ranking import scores_of, summarize
from captioning.metrics.uncertainty import Comparison, p_values

OWNERS = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6])
"""The image of each of ten sentences."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def run(seed: int, worst: int = 14) -> Run:
    drawn = rng(seed)
    return {
        "image_to_text": summarize(drawn.integers(1, worst, 7), np.arange(7)),
        "text_to_image": summarize(drawn.integers(1, worst, 10), OWNERS),
    }


def scored(images: list[int], texts: list[int]) -> NDArray[np.float64]:
    """The nine scores of plain lists of ranks."""
    found: list[float] = []
    for ranks in (images, texts):
        found += [sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)] + [float(np.median(ranks))]
    return np.array([(sum(found[:3]) + sum(found[4:7])) / 6, *found])


def plain(run: Run) -> tuple[list[int], list[int]]:
    return run["image_to_text"].ranks.tolist(), run["text_to_image"].ranks.tolist()


def test_differences_are_those_of_samples_and_exchanges_that_are_each_scored_anew():
    first, second = [run(1), run(2)], [run(3), run(4)]
    found = compare(first, second, rng(5), num_replicates=60, confidence=0.8)
    assert list(found) == list(scores_of(first[0]))
    generator = rng(5)

    def mean(runs: Any) -> NDArray[np.float64]:
        return np.mean([scored(*ranks) for ranks in runs], axis=0)

    observed = mean(map(plain, first)) - mean(map(plain, second))
    drawn = []
    for sample in generator.integers(7, size=(60, 7)):
        texts = [n for image in sample for n in np.flatnonzero(image == OWNERS)]
        ones, others = (
            [([i[n] for n in sample], [t[n] for n in texts]) for i, t in map(plain, runs)] for runs in (first, second)
        )
        drawn.append(mean(ones) - mean(others))
    exchanged = []
    for own in generator.integers(0, 2, (60, 7)).astype(bool):
        ones, others = [], []
        for (i, t), (j, u) in zip(map(plain, first), map(plain, second), strict=True):
            keep = own[OWNERS]
            ones.append((np.where(own, i, j).tolist(), np.where(keep, t, u).tolist()))
            others.append((np.where(own, j, i).tolist(), np.where(keep, u, t).tolist()))
        exchanged.append(mean(ones) - mean(others))
    low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
    p = p_values(np.array(exchanged), observed)
    for n, comparison in enumerate(found.values()):
        assert astuple(comparison) == pytest.approx((observed[n], low[n], high[n], p[n]))
        assert {type(part) for part in astuple(comparison)} == {float}


def test_equal_ranks_do_not_differ():
    assert set(compare([run(1)], [run(1)], rng()).values()) == {Comparison(0, 0, 0, 1)}


def many(seed: int, worst: int) -> Run:
    ranks = rng(seed).integers(1, worst, (2, 300))
    return {
        name: summarize(one, np.arange(300))
        for name, one in zip(("image_to_text", "text_to_image"), ranks, strict=True)
    }


def test_a_clearly_better_matcher_is_found_and_exchanged_matchers_differ_the_other_way():
    better, worse = [many(1, 12)], [many(2, 60)]
    there, back = compare(better, worse, rng()), compare(worse, better, rng())
    assert there["recall"].low > 0.2
    assert there["recall"].p_value == there["image_to_text R@5"].p_value == 1 / 1001
    assert there["text_to_image median_rank"].high < 0
    for name, found in there.items():
        assert back[name].difference == pytest.approx(-found.difference)
        assert back[name].p_value == found.p_value


@pytest.mark.slow
def test_equally_good_matchers_seldom_differ():
    low = [
        compare([many(2 * n, 40)], [many(2 * n + 1, 40)], rng(n), num_replicates=99)["recall"].p_value <= 0.1
        for n in range(300)
    ]
    assert np.mean(low) == pytest.approx(0.1, abs=0.052)  # three standard errors


def test_what_fits_into_memory_does_not_change_the_draws(monkeypatch: pytest.MonkeyPatch):
    whole = compare([run(1)], [run(2)], rng(3), num_replicates=30)
    monkeypatch.setattr(uncertainty, "_BLOCK", 20)
    assert compare([run(1)], [run(2)], rng(3), num_replicates=30) == whole


def test_wrong_arguments_are_refused():
    for first, second in (([run(1)], [run(1), run(2)]), ([], [])):
        with pytest.raises(InputError, match="as many runs of both matchers; found"):
            compare(first, second, rng())
    with pytest.raises(InputError, match="the same images and sentences"):
        compare([run(1)], [many(1, 9)], rng())
    with pytest.raises(InputError, match="at least 2 replicates"):
        compare([run(1)], [run(2)], rng(), num_replicates=1)
