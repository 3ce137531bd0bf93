"""How far confidences can be trusted: reliability, expected calibration error, risk and coverage.

A confidence is the probability that an outcome is right. Confidences are calibrated if, of all outcomes with the
confidence p, the share p is right. In B bins of n_b of the n outcomes, with the mean confidence conf_b and the share
acc_b that is right,

    ECE = sum_b n_b / n |acc_b - conf_b|                                                                        (1)

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", ICML, arXiv:1706.04599, eq. 3, with bins of equal
width. Bins of equal mass have equally many outcomes each. Nixon et al. 2019, "Measuring Calibration in Deep Learning",
arXiv:1904.01685, recommend them, because most bins of equal width are nearly empty.

Whoever gives only the outcomes with the highest confidences has a coverage, their share, and a risk, the share of them
that is wrong:

    risk(c) = mean of wrong over the c n outcomes of the highest confidences                                    (2)

Source: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification", JMLR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.uncertainty import ends, times_drawn

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Binning = Literal["equal_mass", "equal_width"]

MOST_BINS = 15
"""The bins of Guo et al."""
LEAST_MASS = 100
"""Outcomes of a bin of equal mass, if there are 200 in all. With fewer, (1) measures chance more than calibration."""
_CHANCES = 200


@dataclass(frozen=True)
class Reliability:
    """The bins of some confidences, and their expected calibration error.

    Attributes:
        counts: (B) n_b.
        confidences: (B) conf_b.
        accuracies: (B) acc_b.
        ece: (1).
        low: lower end of its bootstrap interval.
        high: upper end.
        chance: the mean of (1) if outcomes were right with exactly the probabilities that their confidences name. It is
            above 0, because the shares of finite bins vary. It falls with the number of outcomes.
    """

    counts: tuple[int, ...]
    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]
    ece: float
    low: float
    high: float
    chance: float


def reliability(
    confidences: Floats,
    right: Flags,
    images: NDArray[np.integer] | None = None,
    *,
    binning: Binning = "equal_mass",
    num_replicates: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Compare confidences with outcomes.

    The bootstrap draws images, with all their outcomes. The bins stay those of all outcomes.

    Args:
        confidences: (n) probabilities.
        right: (n) the outcomes.
        images: (n) the row of each outcome's image, from 0; None if each image has one outcome.
        binning: "equal_mass" makes 2 to 15 bins, of at least 100 outcomes each if there are as many. Outcomes of the
            same confidence are in the same bin. "equal_width" makes 15 bins, of which the empty ones are left out.
        num_replicates: how often images are drawn.
        seed: of the draws.

    Raises:
        InputError: there is no outcome, or a confidence is no probability.
    """
    _check(confidences, right)
    bins = _bins(confidences, binning)
    images = np.arange(len(bins)) if images is None else images
    statistics = np.zeros((int(images.max()) + 1, 3, int(bins.max()) + 1))
    for column, values in enumerate((np.ones(len(bins)), confidences, right)):
        np.add.at(statistics[:, column], (images, bins), values)
    totals = statistics.sum(0)
    generator = np.random.default_rng(seed)
    flat = statistics.reshape(len(statistics), -1)
    replicates = [ece(times @ flat) for times in times_drawn(len(statistics), generator, num_replicates)]
    low, high = ends(np.concatenate(replicates), 0.95)
    drawn = generator.random((_CHANCES, len(bins))) < confidences
    chances = [ece(np.stack([totals[0], totals[1], np.bincount(bins, own, len(totals[0]))]).ravel()) for own in drawn]
    return Reliability(
        counts=tuple(totals[0].astype(int).tolist()),
        confidences=tuple((totals[1] / totals[0]).tolist()),
        accuracies=tuple((totals[2] / totals[0]).tolist()),
        ece=float(ece(totals.ravel())),
        low=float(low),
        high=float(high),
        chance=float(np.mean(chances)),
    )


def ece(totals: Floats) -> Floats:
    """Compute (1) from the sums of each bin.

    Args:
        totals: (..., 3 B): n_b of all bins, the sums of their confidences, and how many of their outcomes are right.
    """
    counts, confidences, right = np.split(totals, 3, axis=-1)
    error: Floats = np.abs(right - confidences).sum(-1) / counts.sum(-1)  # (1)
    return error


def _bins(confidences: Floats, binning: Binning) -> NDArray[np.int64]:
    """Number the bin of each confidence, without empty bins."""
    if binning == "equal_width":
        own = np.minimum((confidences * MOST_BINS).astype(int), MOST_BINS - 1)
    else:
        num_bins = min(MOST_BINS, max(2, len(confidences) // LEAST_MASS))
        inner = np.quantile(confidences, np.arange(1, num_bins) / num_bins)
        own = np.searchsorted(inner, confidences, side="right")
    numbers: NDArray[np.int64] = np.unique(own, return_inverse=True)[1]
    return numbers


COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""The coverages of a table."""


def risks(confidences: Floats, right: Flags, coverages: Sequence[float] = COVERAGES) -> list[float]:
    """Compute the risk at each coverage, (2). Outcomes of equal confidence count as their mean.

    Raises:
        InputError: there is no outcome, a confidence is no probability, or a coverage is not above 0 and at most 1.
    """
    _check(confidences, right)
    if wrong := [coverage for coverage in coverages if not 0 < coverage <= 1]:
        raise InputError(f"coverage={wrong[0]}: expected a share above 0 and at most 1, such as 0.7")
    order = np.argsort(-confidences, kind="stable")
    _, starts, ties = np.unique(-confidences[order], return_index=True, return_counts=True)
    means = np.add.reduceat(~right[order], starts, dtype=np.float64) / ties
    sums = np.cumsum(np.repeat(means, ties))
    kept = [max(1, math.floor(coverage * len(sums) + 0.5)) for coverage in coverages]
    return [float(sums[number - 1] / number) for number in kept]  # (2)


def auroc(scores: Floats, positive: Flags) -> float:
    """Compute the probability that a positive has a higher score than a negative; ties count half.

    It is the area under the receiver operating characteristic (Hanley and McNeil 1982). NaN without both kinds.
    """
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # of equal scores, the mean of their ranks
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _check(confidences: Floats, right: Flags) -> None:
    if confidences.ndim != 1 or confidences.shape != right.shape or not len(confidences):
        raise InputError(
            f"expected as many confidences as outcomes, at least one; found {confidences.shape} and {right.shape}"
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError("expected confidences between 0 and 1; a value is outside, or is not a number")
