"""Minimum error rate training: weights of features, chosen so that the best-weighted captions score highest.

Source: Och 2003, "Minimum Error Rate Training in Statistical Machine Translation", ACL. Fang et al. 2015
(arXiv:1411.4952) re-rank captions by it. For image i, hypothesis m with features h_im, and weights w,

    e_i(w) = argmax_m w . h_im                                    (1)
    w* = argmax_w score(sum_i statistics(e_i(w)))                 (2)

Along a direction d, the value of a hypothesis is a line, (w + t d) . h = a + t b. An image's winners are the lines of
the upper envelope, so the score is constant between the thresholds at which any image's winner changes. All thresholds
are sorted and walked once. Each adds to the sums what its change of winner adds. So a line search is exact.

Any metric serves, because its statistics add up over images (`captioning.metrics.metric`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.metrics.metric import Metric
from captioning.seeds import seed_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Score = Callable[[Floats], Floats]
"""Maps sums of statistics, (..., S), to scores to maximise, (...)."""

_GAIN = 1e-9
"""The smallest gain that counts, relative to the score. Rounding may seem to gain less."""
_WIDTH = 1e-9
"""The narrowest interval of t to step into. In narrower ones, rounding may choose other winners."""
_LARGEST = 1e100
"""Features are below it, so that their squares are finite."""


@dataclass(frozen=True)
class Tuned:
    """The outcome of tuning.

    Attributes:
        weights: (J); zeros if no weights scored higher than the first caption of each list.
        score: the score of the captions that these weights choose.
        start: the score of the first caption of each list.
    """

    weights: Floats
    score: float
    start: float


@dataclass(frozen=True)
class Changes:
    """The changes of winner along a direction, by ascending t.

    Attributes:
        first: (I) each image's winner before any change.
        t: where each winner changes.
        images: the image of each change.
        before: its winner until t.
        after: its winner from t.
    """

    first: Integers
    t: Floats
    images: Integers
    before: Integers
    after: Integers


def maximised(metric: Metric, name: str) -> Score:
    """Return the function that `tune` maximises: one of a metric's scores, negated if lower scores are better.

    Raises:
        InputError: the metric has no score of this name.
    """
    if name not in metric.names:
        raise InputError(f"expected one of the scores {', '.join(metric.names)}, found '{shown(name)}'")
    column, sign = metric.names.index(name), 1.0 if metric.mode == "max" else -1.0
    return lambda totals: sign * metric.scores(totals)[..., column]


def winners(features: Floats, weights: Floats) -> Integers:
    """Choose each image's best hypothesis by (1), the first of equals.

    Args:
        features: (I, M, J).
        weights: (J).

    Returns:
        (I) positions in the image's list.
    """
    best: Integers = _weighted(np.moveaxis(features, 2, 0), weights).argmax(1)
    return best


def tune(
    features: Floats,
    statistics: Floats,
    score: Score,
    *,
    restarts: int = 20,
    random_directions: int = 16,
    seed: int = 0,
) -> Tuned:
    """Search for the weights of (2).

    Line searches along each feature and along random directions improve the weights, until a pass over all directions
    improves nothing. The first start is at zero weights, which choose the first caption of each list. Other starts are
    random. The best outcome is returned, so its score is never below that of the lists' order.

    Features are divided by their standard deviation within an image, so that random weights and directions suit all of
    them. A feature that never differs within an image chooses nothing, and its weight is 0.

    Args:
        features: (I, M, J), the features of M hypotheses of each image. An image with fewer repeats one of them.
        statistics: (I, M, S), the metric's statistics of each hypothesis.
        score: maps sums of statistics to scores to maximise, such as `maximised` returns.
        restarts: the number of starts.
        random_directions: random directions in each pass, beside the J features.
        seed: of random starts and directions. More restarts begin with the same ones.

    Raises:
        InputError: the shapes do not fit, a number is infinite, NaN or above 1e100, or `restarts` is below 1.
    """
    if features.ndim != 3 or statistics.ndim != 3 or features.shape[:2] != statistics.shape[:2] or not features.size:
        raise InputError(
            f"expected features (I, M, J) and statistics (I, M, S) of the same hypotheses; found {features.shape} and "
            f"{statistics.shape}"
        )
    if not (np.abs(features).max() < _LARGEST and np.isfinite(statistics).all()):  # also of NaN
        raise InputError(
            f"features are NaN or above {_LARGEST:g}, or statistics are infinite; leave such a feature out"
        )
    if restarts < 1:
        raise InputError(f"restarts={restarts} must be at least 1")
    scale = np.sqrt(features.var(axis=1).mean(axis=0))
    varies = scale > 1e-12 * np.abs(features).max(axis=(0, 1))  # by more than rounding
    scaled = np.ascontiguousarray(np.moveaxis(features[..., varies] / scale[varies], 2, 0))
    ascent = _Ascent(scaled, statistics, score, random_directions)
    zeros = np.zeros(len(scaled))
    start = ascent.score_of(zeros)
    best, highest = zeros, start
    for restart in range(restarts):
        random = np.random.default_rng(seed_of(seed, restart))
        found, reached = ascent.climb(_unit(random.standard_normal(len(zeros))) if restart else zeros, random)
        if _is_gain(reached, highest):
            best, highest = found, reached
    weights = np.zeros(len(scale))
    weights[varies] = best / scale[varies]
    return Tuned(weights, highest, start)


@dataclass(frozen=True)
class _Ascent:
    """Improves weights by line searches.

    Attributes:
        features: (J, I, M).
        statistics: (I, M, S).
        score: see `tune`.
        random_directions: see `tune`.
    """

    features: Floats
    statistics: Floats
    score: Score
    random_directions: int

    def climb(self, weights: Floats, random: np.random.Generator) -> tuple[Floats, float]:
        """Return better weights and their score, when no direction of a whole pass improves it."""
        size = len(weights)
        highest, improved = self.score_of(weights), True
        while improved:
            improved = False
            values = _weighted(self.features, weights)
            others = random.standard_normal((self.random_directions, size))
            for direction in (*np.eye(size), *map(_unit, others)):
                t = best_step(values, _weighted(self.features, direction), self.statistics, self.score)
                trial = _unit(weights + t * direction)
                if t != 0 and _is_gain(reached := self.score_of(trial), highest):
                    weights, highest, improved = trial, reached, True
                    values = _weighted(self.features, weights)
        return weights, highest

    def score_of(self, weights: Floats) -> float:
        """Score the winners, without any line search."""
        best = _weighted(self.features, weights).argmax(1)
        return float(self.score(self.statistics[np.arange(len(best)), best].sum(0)))


def best_step(a: Floats, b: Floats, statistics: Floats, score: Score) -> float:
    """Find the t at which the winners of a + t b score highest together.

    Args:
        a: (I, M) the values of hypotheses at t = 0.
        b: (I, M) their slopes.
        statistics: (I, M, S).
        score: see `tune`.

    Returns:
        The middle of the best interval between thresholds; of several, the widest. Before the first threshold and after
        the last one, t is 1 away from it. 0 if no winner ever changes.
    """
    changes = envelope(a, b)
    if not len(changes.t):
        return 0.0
    scores = score(walk(changes, statistics))
    ends = np.concatenate([[-np.inf], changes.t, [np.inf]])
    widths = np.diff(ends)
    scores[widths < _WIDTH * np.maximum(1, np.abs(ends[:-1]))] = -np.inf
    best = int(np.where(scores == scores.max(), widths, -1).argmax())
    low, high = ends[best], ends[best + 1]
    if np.isinf(low):
        return float(high - 1)
    return float(low + 1 if np.isinf(high) else (low + high) / 2)


def envelope(a: Floats, b: Floats) -> Changes:
    """Compute the upper envelope of each image's lines a + t b, from the lowest t to the highest.

    Each step finds, for all images together, the first crossing of the winner with a steeper line. It takes as many
    steps as the longest envelope has lines, which are few of the M.

    Args:
        a: (I, M).
        b: (I, M).
    """
    winner = _first_max(a, b == b.min(1, keepdims=True))
    first, images, t = winner, np.arange(len(a)), np.full(len(a), -np.inf)
    found = list[tuple[Floats, Integers, Integers, Integers]]()
    while len(images):
        own = winner[:, None]
        gained = b - np.take_along_axis(b, own, 1)
        lost = np.take_along_axis(a, own, 1) - a
        with np.errstate(over="ignore"):  # lines that are almost parallel cross at infinity
            crossings = np.divide(lost, gained, out=np.full_like(a, np.inf), where=gained > 0)
        nearest = crossings.min(1)
        after = _first_max(b, crossings == nearest[:, None])
        steeper = nearest < np.inf
        a, b, images, before, after = a[steeper], b[steeper], images[steeper], winner[steeper], after[steeper]
        t = np.maximum(t, nearest)[steeper]  # rounding may put a crossing before the one that precedes it
        found.append((t, images, before, after))
        winner = after
    t, images, before, after = (np.concatenate(part) for part in zip(*found, strict=True))
    order = t.argsort(kind="stable")
    return Changes(first, t[order], images[order], before[order], after[order])


def walk(changes: Changes, statistics: Floats) -> Floats:
    """Sum the winners' statistics before the first change, and after each change, (changes + 1, S)."""
    start = statistics[np.arange(len(changes.first)), changes.first].sum(0)
    added = statistics[changes.images, changes.after] - statistics[changes.images, changes.before]
    return np.vstack([start, added]).cumsum(0)


def _first_max(values: Floats, among: NDArray[np.bool_]) -> Integers:
    positions: Integers = np.where(among, values, -np.inf).argmax(1)
    return positions


def _weighted(features: Floats, weights: Floats) -> Floats:
    """Compute w . h of each hypothesis, (J, I, M) to (I, M).

    A matrix product may round equal hypotheses differently, and then another one than the first would win.
    """
    values = np.zeros(features.shape[1:])
    for feature, weight in zip(features, weights.tolist(), strict=True):
        if weight:
            values += weight * feature
    return values


def _unit(weights: Floats) -> Floats:
    """Scale weights to length 1, which changes no winner; zeros stay."""
    return weights / (np.linalg.norm(weights) or 1.0)


def _is_gain(reached: float, highest: float) -> bool:
    return reached > highest + _GAIN * abs(highest)
