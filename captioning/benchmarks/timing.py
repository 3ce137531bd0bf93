"""Timing of several functions alternately, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How two alternating measurements compare.

    Attributes:
        seconds: the median time of the first function.
        other_seconds: the median time of the second one.
        ratio: the median over the repetitions of the second one's time divided by the first one's.
        spread: the interquartile range of these ratios.
    """

    seconds: float
    other_seconds: float
    ratio: float
    spread: float


def compare(run: Callable[[], object], other: Callable[[], object], *, repeat: int) -> Ratio:
    """Measure two functions alternately, `repeat` times each after one call that is not measured."""
    run(), other()
    times, others = [], []
    for _ in range(repeat):
        times.append(seconds(run))
        others.append(seconds(other))
    ratios = [b / a for a, b in zip(times, others, strict=True)]
    return Ratio(statistics.median(times), statistics.median(others), statistics.median(ratios), spread(ratios))


def seconds(run: Callable[[], object]) -> float:
    """Measure one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> float:
    """Return the interquartile range; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first
