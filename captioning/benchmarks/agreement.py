"""Measure how well metrics agree with people: Kendall's τ between the scores of captions and their human ratings.

Source: Hessel et al. 2021, "CLIPScore" (arXiv:2104.08718), section 4.1. On Flickr8k, every expert rating counts
separately. The paper reports τ_c for the experts and τ_b for the crowd. Pairs whose caption is a reference of their
image are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.data.readers.flickr8k import read_all_captions
from captioning.data.readers.flickr8k_judgements import Judged, read_crowd, read_experts
from captioning.errors import InputError
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
    return [
        found
        for judges, judged in (("experts", read_experts(root, captions)), ("crowd", read_crowd(root, captions)))
        for found in agreement(judges, judged, captions, metrics=metrics)
    ]


def agreement(
    judges: str, judged: Sequence[Judged], captions: Mapping[str, Sequence[str]], *, metrics: Sequence[str]
) -> list[Agreement]:
    """Score each judged caption against the references of its image, and compare the scores with the ratings.

    Args:
        judges: the people who rated, for the result.
        judged: pairs of an image and a caption, with their ratings.
        captions: the references of every image.
        metrics: the metrics, as for `CocoScorer`.

    Raises:
        InputError: all remaining ratings are equal, or SciPy is not installed.
    """
    pairs = [pair for pair in judged if pair.caption not in captions[pair.image]]
    if len({rating for pair in pairs for rating in pair.ratings}) < 2:
        raise InputError(
            f"expected different ratings of captions that are not references of their image; found {len(pairs)} such "
            f"captions rated by the {judges}, all rated alike; check the files of judgements"
        )
    with CocoScorer({n: captions[pair.image] for n, pair in enumerate(pairs)}, metrics=metrics) as scorer:
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
