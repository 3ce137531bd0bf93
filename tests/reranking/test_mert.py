"""Minimum error rate training: the exact line search against grids, and what tuning guarantees."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider
from captioning.reranking.mert import best_step, envelope, maximised, tune, walk, winners

WORDS = ["a", "the", "dog", "cat", "runs", "sits", "on", "grass", "red", "fast"]
METRICS = [(Bleu, "BLEU-4"), (Bleu, "BLEU-1"), (Cider, "CIDEr")]


def made(seed: int, images: int = 11, length: int = 7, size: int = 3) -> tuple[Any, Any, Any]:
    """Features (I, M, J), captions by rank and image, and references, all at random."""
    random = np.random.default_rng(seed)

    def sentence() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, 8)))

    captions = [[sentence() for _ in range(images)] for _ in range(length)]
    references = [[sentence(), sentence()] for _ in range(images)]
    return random.standard_normal((images, length, size)), captions, references


def counted(metric: Any, captions: Any) -> Any:
    return np.stack([metric.statistics(group) for group in captions], 1)


numbers = st.integers(-3, 3)
lists = st.lists(
    st.lists(st.tuples(numbers, numbers, st.integers(0, 5)), min_size=3, max_size=3), min_size=1, max_size=4
)


def share(totals: Any) -> Any:
    """A score that is no sum over images."""
    return totals[..., 0] / (1 + totals[..., 1])


@given(lists)
def test_the_envelope_names_the_winners_of_a_fine_grid(hypotheses: Any) -> None:
    a, b, _ = np.moveaxis(np.array(hypotheses, float), 2, 0)
    changes = envelope(a, b)
    for t in np.linspace(-7, 7, 337) + 1 / 997:  # no crossing of these lines is there
        current = changes.first.copy()
        for threshold, image, before, after in zip(
            changes.t, changes.images, changes.before, changes.after, strict=True
        ):
            if threshold < t:
                assert current[image] == before
                current[image] = after
        assert (current == (a + t * b).argmax(1)).all()


@given(lists)
def test_no_point_of_a_grid_scores_higher_than_the_best_step(hypotheses: Any) -> None:
    a, b, own = np.moveaxis(np.array(hypotheses, float), 2, 0)
    statistics = np.stack([own, own * 0 + np.arange(3)], -1)

    def at(t: float) -> float:
        best = (a + t * b).argmax(1)
        return float(share(statistics[np.arange(len(a)), best].sum(0)))

    found = at(best_step(a, b, statistics, share))
    assert found == max(at(t) for t in [*(np.linspace(-9, 9, 403) + 1 / 997), best_step(a, b, statistics, share)])


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_the_walk_equals_scoring_the_winners_from_scratch(metric: Any, name: str) -> None:
    features, captions, references = made(1)
    metric = metric(references)
    a, b = features[..., 0], features[..., 1]
    changes = envelope(a, b)
    scores = maximised(metric, name)(walk(changes, counted(metric, captions)))
    ends = [changes.t[0] - 1, *changes.t, changes.t[-1] + 1]
    assert len(changes.t) > 20
    for k, (low, high) in enumerate(pairwise(ends)):
        best = (a + (low + high) / 2 * b).argmax(1)
        chosen = [captions[m][i] for i, m in enumerate(best)]
        assert scores[k] == pytest.approx(float(maximised(metric, name)(metric.statistics(chosen).sum(0))), rel=1e-12)


@pytest.mark.parametrize(("metric", "name"), METRICS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tuning_reports_the_score_of_its_weights_and_is_never_below_the_lists_order(
    metric: Any, name: str, seed: int
) -> None:
    features, captions, references = made(seed)
    metric = metric(references)
    tuned = tune(features, counted(metric, captions), maximised(metric, name), restarts=2, seed=seed)
    first = float(maximised(metric, name)(metric.statistics(captions[0]).sum(0)))
    chosen = [captions[m][i] for i, m in enumerate(winners(features, tuned.weights))]
    assert tuned.start == pytest.approx(first, rel=1e-12)
    assert tuned.score == pytest.approx(float(maximised(metric, name)(metric.statistics(chosen).sum(0))), rel=1e-12)
    assert tuned.score > tuned.start


def test_two_features_are_tuned_to_the_best_angle_of_a_fine_grid() -> None:
    features, captions, references = made(5, images=7, length=3, size=2)
    cider = Cider(references)
    statistics, score = counted(cider, captions), maximised(cider, "CIDEr")
    angles = np.linspace(0, 2 * np.pi, 5001)
    chosen = (winners(features, np.array([np.cos(angle), np.sin(angle)])) for angle in angles)
    best = max(float(score(statistics[np.arange(7), own].sum(0))) for own in chosen)
    assert tune(features, statistics, score, restarts=5).score == pytest.approx(best, rel=1e-12)


def test_the_same_seed_gives_the_same_weights_and_more_restarts_are_no_worse() -> None:
    features, captions, references = made(3)
    bleu = Bleu(references)
    statistics, score = counted(bleu, captions), maximised(bleu, "BLEU-2")
    runs = [tune(features, statistics, score, restarts=3, seed=seed) for seed in (0, 0, 1)]
    assert (runs[0].weights == runs[1].weights).all()
    assert (runs[0].weights != runs[2].weights).any()
    reached = [tune(features, statistics, score, restarts=restarts).score for restarts in (1, 2, 4)]
    assert reached == sorted(reached)


def test_the_scale_of_a_feature_changes_no_winner() -> None:
    features, captions, references = made(4)
    bleu = Bleu(references)
    statistics, score = counted(bleu, captions), maximised(bleu, "BLEU-2")
    scaled = features * [1024.0, 1.0, 2.0**-20]  # powers of two round nothing
    one, other = (tune(each, statistics, score, restarts=3) for each in (features, scaled))
    assert (winners(features, one.weights) == winners(scaled, other.weights)).all()


def test_a_feature_that_never_differs_within_an_image_changes_nothing() -> None:
    features, captions, references = made(6)
    constant = np.broadcast_to(np.arange(11.0)[:, None, None] / 3, (11, 7, 1))
    bleu = Bleu(references)
    statistics, score = counted(bleu, captions), maximised(bleu, "BLEU-2")
    tuned = tune(np.concatenate([features, constant], 2), statistics, score, restarts=1)
    assert tuned.weights[3] == 0
    assert tuned.score > tuned.start


def test_lists_whose_first_captions_are_best_keep_their_order() -> None:
    features = np.random.default_rng(0).standard_normal((5, 4, 3))
    statistics = np.ones((5, 4, 2)) * [1.0, 0.0]
    tuned = tune(features, statistics, share, restarts=2)
    assert not tuned.weights.any()
    assert (winners(features, tuned.weights) == 0).all()
    assert tuned.score == tuned.start == 5.0


def test_among_equal_intervals_the_widest_is_chosen() -> None:
    a, b = np.array([[0.0, -1.0, -10.0]]), np.array([[0.0, 1.0, 2.0]])  # thresholds 1 and 9
    assert best_step(a, b, np.array([[[0.0], [1.0], [0.0]]]), lambda totals: totals[..., 0]) == 5
    assert best_step(a, b, np.array([[[0.0], [0.0], [1.0]]]), lambda totals: totals[..., 0]) == 10
    assert best_step(a, b, np.array([[[1.0], [0.0], [0.0]]]), lambda totals: totals[..., 0]) == 0
    a, b = np.array([[0.0, -1.0, -10.0, -40.0]]), np.array([[0.0, 1.0, 2.0, 3.0]])  # 1, 9, 30
    assert best_step(a, b, np.array([[[0.0], [1.0], [1.0], [0.0]]]), lambda totals: totals[..., 0]) == 19.5


def test_a_metric_that_is_better_when_lower_is_negated() -> None:
    class Errors(Bleu):
        names = ("errors",)
        mode = "min"
        scores = staticmethod(lambda totals: totals[..., :1])

    assert maximised(Errors([["a"]]), "errors")(np.array([3.0, 4.0])) == -3
    with pytest.raises(InputError, match="expected one of the scores errors, found 'BLEU-4'"):
        maximised(Errors([["a"]]), "BLEU-4")


def test_wrong_arrays_are_refused() -> None:
    features, statistics = np.zeros((2, 3, 5)), np.zeros((2, 3, 7))
    with pytest.raises(InputError, match="of the same hypotheses"):
        tune(features, statistics[:, :2], share)
    for broken in (np.nan, np.inf, -1e200):
        with pytest.raises(InputError, match="features are NaN or above 1e\\+100"):
            tune(features + broken, statistics, share)
    with pytest.raises(InputError, match="or statistics are infinite"):
        tune(features, statistics * np.nan, share)
    with pytest.raises(InputError, match="restarts=0 must be at least 1"):
        tune(features, statistics, share, restarts=0)
