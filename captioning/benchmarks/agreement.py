"""Measure how well metrics agree with people: Kendall's τ between the scores of captions and their human ratings.

Source: Hessel et al. 2021, "CLIPScore" (arXiv:2104.08718), section 4.1 and appendix A, and the authors' program. On
Flickr8k, every expert rating counts separately. The paper reports τ_c for the experts and τ_b for the crowd. A caption
may have been written for the very image that it is judged for. Such pairs of the experts are left out. Those of the
crowd are kept, and the judged caption is removed from the references of this image, for all its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.data.readers.flickr8k import read_all_captions
from captioning.data.readers.flickr8k_judgements import Judged, read_crowd, read_experts
from captioning.errors import InputError, shown
from captioning.metrics import COCO_METRICS, CocoScorer


@dataclass(frozen=True)
class Agreement:
    """The rank correlation of one metric with human ratings.

    Attributes:
        judges: the people who rated, "experts" or "crowd".
        metric: the name of the metric.
        tau_b: Kendall's τ_b in [-1, 1], which corrects for ties; None if all scores are equal.
        tau_c: Kendall's (Stuart's) τ_c in [-1, 1], for scales of different lengths; None if all scores are equal.
        num_pairs: the number of pairs of an image and a caption.
        num_ratings: the number of ratings of these pairs.
    """

    judges: str
    metric: str
    tau_b: float | None
    tau_c: float | None
    num_pairs: int
    num_ratings: int


def agreements(root: Path, *, metrics: Sequence[str] = COCO_METRICS) -> list[Agreement]:
    """Compare metrics with the expert and the crowd judgements of Flickr8k.

    Args:
        root: the folder of Flickr8k, with its captions and the two files of judgements.
        metrics: the metrics, as for `CocoScorer`.

    Raises:
        InputError: a file is missing or damaged.
    """
    captions = read_all_captions(root)
    experts, crowd = read_experts(root, captions), read_crowd(root, captions)
    return [
        *agreement("experts", without_references(experts, captions), captions, metrics=metrics),
        *agreement("crowd", crowd, without_judged(captions, crowd), metrics=metrics),
    ]


def without_references(judged: Sequence[Judged], captions: Mapping[str, Sequence[str]]) -> list[Judged]:
    """Leave out the pairs whose caption is a reference of their image."""
    return [pair for pair in judged if pair.caption not in captions[pair.image]]


def without_judged(captions: Mapping[str, Sequence[str]], judged: Sequence[Judged]) -> dict[str, list[str]]:
    """Remove from each image's references the captions that are judged for this image.

    Raises:
        InputError: an image has no other reference.
    """
    references = {image: list(group) for image, group in captions.items()}
    for pair in judged:
        if pair.caption in references[pair.image]:  # of two equal references, the authors' program removes one
            references[pair.image].remove(pair.caption)
    if without := [pair.image for pair in judged if not references[pair.image]]:
        raise InputError(
            f"{shown(without[0])}: every reference is also a judged caption, so that none is left to score by; check "
            "the files of judgements"
        )
    return references


def agreement(
    judges: str, pairs: Sequence[Judged], references: Mapping[str, Sequence[str]], *, metrics: Sequence[str]
) -> list[Agreement]:
    """Score each judged caption against the references of its image, and compare the scores with the ratings.

    Args:
        judges: the people who rated, for the result.
        pairs: pairs of an image and a caption, with their ratings.
        references: of every image.
        metrics: the metrics, as for `CocoScorer`.

    Raises:
        InputError: all ratings are equal, or SciPy is not installed.
    """
    if len({rating for pair in pairs for rating in pair.ratings}) < 2:
        raise InputError(
            f"expected different ratings by the {judges}; found {len(pairs)} captions that can be used, all rated "
            "alike; check the files of judgements"
        )
    with CocoScorer({n: references[pair.image] for n, pair in enumerate(pairs)}, metrics=metrics) as scorer:
        scores = scorer.score({n: pair.caption for n, pair in enumerate(pairs)})
    ratings = [rating for pair in pairs for rating in pair.ratings]
    kendalltau = _kendalltau()
    found = []
    for metric in scores.corpus:
        per_rating = [scores.per_image[n][metric] for n, pair in enumerate(pairs) for _ in pair.ratings]
        alike = len(set(per_rating)) < 2
        tau_b, tau_c = (
            None if alike else float(kendalltau(per_rating, ratings, variant=variant).statistic) for variant in "bc"
        )
        found.append(Agreement(judges, metric, tau_b, tau_c, len(pairs), len(ratings)))
    return found


def _kendalltau() -> Any:
    try:
        from scipy.stats import kendalltau
    except ImportError as error:
        raise InputError(
            "Kendall's tau needs SciPy, which is not installed; run pip install 'captioning[humans]'"
        ) from error
    return kendalltau
