"""Do metrics agree with people? Kendall's τ between a caption's figure and its ratings.

Source: Hessel et al. 2021, "CLIPScore" (arXiv:2104.08718), section 4.1: on Flickr8k each rating of an expert counts by
itself and τ_c is told; of the crowd's judgements τ_b. A pair whose caption is one of the image's own references is left
out.
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
    """How one metric's figures and people's ratings are ordered alike, from -1 to 1.

    Attributes:
        judges: whose ratings.
        metric: its name.
        tau_b: Kendall's τ_b, which corrects for ties; None where all figures are alike.
        tau_c: Kendall's (Stuart's) τ_c, for scales of different lengths; None likewise.
        num_pairs: pairs of an image and a caption.
        num_ratings: of these pairs.
    """

    judges: str
    metric: str
    tau_b: float | None
    tau_c: float | None
    num_pairs: int
    num_ratings: int


def agreements(root: Path, *, metrics: Sequence[str] = COCO_METRICS) -> list[Agreement]:
    """Compare metrics with Flickr8k's experts and with its crowd.

    Args:
        root: the folder of Flickr8k, with its captions and the two files of judgements.
        metrics: as `CocoScorer` takes them.

    Raises:
        InputError: a file is missing or broken.
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
    """Score each judged caption against its image's captions, and compare with the ratings.

    Args:
        judges: whose ratings, to be told.
        judged: pairs and their ratings.
        captions: the references of every image.
        metrics: as `CocoScorer` takes them.

    Raises:
        InputError: no two ratings that differ are left, or SciPy is missing.
    """
    pairs = [pair for pair in judged if pair.caption not in captions[pair.image]]
    if len({rating for pair in pairs for rating in pair.ratings}) < 2:
        raise InputError(
            f"expected judged captions that are not among their image's own references, with different ratings; found "
            f"{len(pairs)} of {judges} that are all rated alike"
        )
    with CocoScorer({n: captions[pair.image] for n, pair in enumerate(pairs)}, metrics=metrics) as scorer:
        scores = scorer.score({n: pair.caption for n, pair in enumerate(pairs)})
    ratings = [rating for pair in pairs for rating in pair.ratings]
    kendalltau = _kendalltau()
    found = []
    for metric in scores.corpus:
        figures = [scores.per_image[n][metric] for n, pair in enumerate(pairs) for _ in pair.ratings]
        alike = len(set(figures)) < 2
        tau_b, tau_c = (
            None if alike else float(kendalltau(figures, ratings, variant=variant).statistic) for variant in "bc"
        )
        found.append(Agreement(judges, metric, tau_b, tau_c, len(pairs), len(ratings)))
    return found


def _kendalltau() -> Any:
    try:
        from scipy.stats import kendalltau
    except ImportError as error:
        raise InputError("Kendall's tau needs SciPy, which is missing: pip install 'captioning[humans]'") from error
    return kendalltau
