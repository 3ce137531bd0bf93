"""Test the differences between word detectors, or between matchers, from what their results say about each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioning.files.digests import check_digests
from captioning.metrics import rank_uncertainty, word_uncertainty
from captioning.metrics.detections_file import DETECTIONS, Detections, load_detections
from captioning.metrics.ranking import scores_of
from captioning.metrics.ranks_file import RANKS, Ranks, load_ranks
from captioning.metrics.uncertainty import Comparison
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_detection import ALL, DETECTION, evaluate
from captioning.metrics.word_sizes import WordSizes

Scores = dict[str, float]
Comparisons = dict[str, Comparison]


@dataclass(frozen=True)
class Difference:
    """The difference between the best row of a score and another row.

    Attributes:
        score: the score's name.
        best: the row with the best mean over its runs.
        other: another row.
        found: the mean of the best row minus that of the other.
    """

    score: str
    best: int
    other: int
    found: Comparison


@dataclass(frozen=True)
class Kind:
    """How results of one kind of model are compared.

    Attributes:
        load: reads a file of per-image values.
        same: whether two files are about the same images and references.
        scores: the scores of a file. Those that not all files have are not tested.
        compare: tests the runs of one row against those of another.
    """

    load: Callable[[Path], Any]
    same: Callable[[Any, Any], bool]
    scores: Callable[[Any], Scores]
    compare: Callable[[Sequence[Any], Sequence[Any], np.random.Generator], Comparisons]


def _same_words(one: Detections, other: Detections) -> bool:
    same = (one.image_ids, one.counts.words) == (other.image_ids, other.counts.words)
    return same and np.array_equal(one.counts.counts, other.counts.counts) and _same_sizes(one.sizes, other.sizes)


def _same_sizes(one: WordSizes | None, other: WordSizes | None) -> bool:
    """Say whether sizes are the same, or not known of both."""
    return one is None or other is None or (one.limits == other.limits and np.array_equal(one.sizes, other.sizes))


def _scores_of_words(detections: Detections) -> Scores:
    order = detections.order.astype(np.float64)
    means = evaluate(detections.counts, order).means()[ALL]
    of_sizes = {name: evaluate(own, order).means()[ALL]["AP"] for name, own in _sizes(detections).items()}
    return {**{name: means[name] for name in DETECTION}, **of_sizes}


def _sizes(detections: Detections) -> dict[str, WordCounts]:
    """Return the counts of each size, by the name of its score; none if sizes are not known."""
    found = {} if detections.sizes is None else detections.sizes.within(detections.counts)
    return {f"AP {size}": own for size, own in found.items()}


def _compare_words(
    first: Sequence[Detections], second: Sequence[Detections], generator: np.random.Generator
) -> Comparisons:
    one, other = ([run.order.astype(np.float64) for run in runs] for runs in (first, second))
    whole = word_uncertainty.compare(first[0].counts, one, other, generator)[ALL]
    of_sizes = {
        name: word_uncertainty.compare(own, one, other, generator)[ALL]["AP"] for name, own in _sizes(first[0]).items()
    }
    return whole | of_sizes


def _same_sentences(one: Ranks, other: Ranks) -> bool:
    return (one.image_ids, one.sentences) == (other.image_ids, other.sentences)


def _compare_ranks(first: Sequence[Ranks], second: Sequence[Ranks], generator: np.random.Generator) -> Comparisons:
    one, other = ([run.directions for run in runs] for runs in (first, second))
    return rank_uncertainty.compare(one, other, generator)


KINDS: Mapping[str, Kind] = {
    DETECTIONS: Kind(load_detections, _same_words, _scores_of_words, _compare_words),
    RANKS: Kind(load_ranks, _same_sentences, lambda ranks: scores_of(ranks.directions), _compare_ranks),
}
"""By the name of the file that a result of this kind has."""


def differences(name: str, folders: Mapping[int, Sequence[Path]], *, seed: int) -> tuple[list[Difference], str]:
    """Test the best row of each score against every other row.

    Args:
        name: the file of per-image values that all results have, one of `KINDS`.
        folders: the results of each row's runs, at least two rows.
        seed: the seed of every test.

    Returns:
        The differences by score, and why there are none; empty if there are some.

    Raises:
        InputError: a file was changed or is damaged.
    """
    kind = KINDS[name]
    if len({len(group) for group in folders.values()}) > 1:
        return [], "the rows have different numbers of runs"
    runs = {row: [_load(kind, folder / name) for folder in group] for row, group in folders.items()}
    first, *others = [run for group in runs.values() for run in group]
    if not all(kind.same(first, run) for run in others):
        return [], "the runs have different images or references"
    if len(first.image_ids) < 2:
        return [], "there is one image"
    means = {row: _means([kind.scores(run) for run in group]) for row, group in runs.items()}
    compared: dict[tuple[int, int], Comparisons] = {}

    def difference(score: str, best: int, other: int) -> Difference:
        pair = min(best, other), max(best, other)
        if pair not in compared:
            compared[pair] = kind.compare(runs[pair[0]], runs[pair[1]], np.random.default_rng(seed))
        found = compared[pair][score]
        return Difference(score, best, other, found if best == pair[0] else _reversed(found))

    found = []
    for score in (name for name in means[min(means)] if all(name in own for own in means.values())):
        lowest = score.endswith("median_rank")
        best = min(means, key=lambda row: means[row][score] if lowest else -means[row][score])
        found += [difference(score, best, other) for other in means if other != best]
    return found, ""


def _load(kind: Kind, file: Path) -> Any:
    check_digests(file.parent, [file.name])
    return kind.load(file)


def _means(scores: Sequence[Scores]) -> Scores:
    common = [name for name in scores[0] if all(name in of_run for of_run in scores)]
    return {name: float(np.mean([of_run[name] for of_run in scores])) for name in common}


def _reversed(found: Comparison) -> Comparison:
    return Comparison(0 - found.difference, 0 - found.high, 0 - found.low, found.p_value)
