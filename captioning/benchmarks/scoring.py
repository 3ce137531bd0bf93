"""Measure the speed of scoring against pycocoevalcap's scorers, in the same run on the same captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from pycocoevalcap.cider import cider as reference

from captioning.benchmarks.timing import compare
from captioning.data.scenes.language import describe
from captioning.data.scenes.layout import sample_layout
from captioning.errors import InputError
from captioning.metrics import CocoScorer, tokenize
from captioning.metrics.cider import Cider
from captioning.metrics.files import ImageId
from captioning.metrics.meteor import universal

CORPORA = {"corpus": ("BLEU", "ROUGE-L", "CIDEr"), "corpus with METEOR": ("BLEU", "ROUGE-L", "CIDEr", "METEOR")}
NUM_IMAGES, NUM_SAMPLED = 5000, 500
REPETITIONS = 3


@dataclass(frozen=True)
class ScoringRow:
    """One measurement.

    Attributes:
        name: "corpus" (tokenization, BLEU, ROUGE-L and CIDEr of every image), "corpus with METEOR" (the same with
            METEOR, whose tables both sides read anew each time) or "cider-d" (rewards of sampled captions, with
            references prepared beforehand).
        seconds: the median time of several repetitions.
        pycocoevalcap_seconds: the same for pycocoevalcap, measured alternately.
        ratio: how many times faster this package is than pycocoevalcap, the median over the repetitions.
        spread: the interquartile range of these ratios.
    """

    name: str
    seconds: float
    pycocoevalcap_seconds: float
    ratio: float
    spread: float


def bench_scoring(captions: Mapping[ImageId, Sequence[str]]) -> list[ScoringRow]:
    """Measure the scoring of the first caption of each image against the others.

    Raises:
        InputError: an image has fewer than two captions.
    """
    if few := sum(len(group) < 2 for group in captions.values()):
        raise InputError(
            f"expected two or more captions per image, the first one to score; {few} of {len(captions)} have fewer"
        )
    references = {image_id: group[1:] for image_id, group in captions.items()}
    candidates = {image_id: group[0] for image_id, group in captions.items()}

    def score(backend: str, metrics: Sequence[str]) -> list[float]:
        universal.cache_clear()
        with CocoScorer(references, metrics=metrics, backend=backend) as scorer:
            return list(scorer.score(candidates).corpus.values())

    return [
        *(
            _row(name, partial(score, "captioning", metrics), partial(score, "pycocoevalcap", metrics))
            for name, metrics in CORPORA.items()
        ),
        _bench_rewards(references, candidates),
    ]


def _bench_rewards(references: Mapping[ImageId, Sequence[str]], candidates: Mapping[ImageId, str]) -> ScoringRow:
    groups = list(tokenize(references).values())
    texts = [text for (text,) in tokenize({image_id: [text] for image_id, text in candidates.items()}).values()]
    rows = np.random.default_rng(0).permutation(len(groups))[:NUM_SAMPLED]
    groups, sampled = [groups[row] for row in rows], [texts[row] for row in rows]
    cider = Cider(groups)
    gts, res = dict(enumerate(groups)), {row: [text] for row, text in enumerate(sampled)}
    return _row(
        "cider-d",
        lambda: cider.rewards(sampled, np.arange(len(rows))),
        lambda: reference.Cider().compute_score(gts, res)[1],
    )


def _row(name: str, run: Callable[[], ArrayLike], reference_run: Callable[[], ArrayLike]) -> ScoringRow:
    _check_equal(run(), reference_run())
    timed = compare(run, reference_run, repeat=REPETITIONS)
    return ScoringRow(name, timed.seconds, timed.other_seconds, timed.ratio, timed.spread)


def generated_captions(num_images: int = NUM_IMAGES) -> dict[ImageId, Sequence[str]]:
    """Generate the five captions of each scene, without the images."""
    generator = np.random.default_rng(0)
    return {row: describe(sample_layout(generator), generator) for row in range(num_images)}


def _check_equal(found: ArrayLike, expected: ArrayLike) -> None:
    if not np.allclose(found, expected, rtol=0, atol=1e-6):
        raise AssertionError("the scores differ from pycocoevalcap's, so their times cannot be compared")
