"""Measure the speed of scoring against pycocoevalcap's scorers, in the same run on the same captions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pycocoevalcap.cider import cider as reference

from captioning.data.scenes.language import describe
from captioning.data.scenes.layout import sample_layout
from captioning.errors import InputError
from captioning.metrics import CocoScorer, tokenize
from captioning.metrics.cider import Cider
from captioning.metrics.files import ImageId

METRICS = ("BLEU", "ROUGE-L", "CIDEr")
NUM_IMAGES, NUM_SAMPLED = 5000, 500
REPETITIONS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class ScoringRow:
    """One measurement.

    Attributes:
        name: "corpus" (tokenization, BLEU, ROUGE-L and CIDEr of every image) or "cider-d" (rewards of sampled captions,
            with references prepared beforehand).
        seconds: the shortest time of several repetitions.
        pycocoevalcap_seconds: the same for pycocoevalcap.
    """

    name: str
    seconds: float
    pycocoevalcap_seconds: float

    @property
    def ratio(self) -> float:
        """How many times faster this package is than pycocoevalcap."""
        return self.pycocoevalcap_seconds / self.seconds


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

    def score(backend: str) -> dict[str, float]:
        with CocoScorer(references, metrics=METRICS, backend=backend) as scorer:
            return scorer.score(candidates).corpus

    seconds, found = best_of(lambda: score("captioning"))
    reference_seconds, expected = best_of(lambda: score("pycocoevalcap"))
    _check_equal(list(found.values()), list(expected.values()))
    return [ScoringRow("corpus", seconds, reference_seconds), _bench_rewards(references, candidates)]


def _bench_rewards(references: Mapping[ImageId, Sequence[str]], candidates: Mapping[ImageId, str]) -> ScoringRow:
    groups = list(tokenize(references).values())
    texts = [text for (text,) in tokenize({image_id: [text] for image_id, text in candidates.items()}).values()]
    rows = np.random.default_rng(0).permutation(len(groups))[:NUM_SAMPLED]
    groups, sampled = [groups[row] for row in rows], [texts[row] for row in rows]
    cider = Cider(groups)
    seconds, found = best_of(lambda: cider.rewards(sampled, np.arange(len(rows))))
    gts, res = dict(enumerate(groups)), {row: [text] for row, text in enumerate(sampled)}
    reference_seconds, (_, expected) = best_of(lambda: reference.Cider().compute_score(gts, res))
    _check_equal(found, expected)
    return ScoringRow("cider-d", seconds, reference_seconds)


def best_of(work: Callable[[], T]) -> tuple[float, T]:
    """Return the shortest time of several repetitions, in seconds, and the result."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def generated_captions(num_images: int = NUM_IMAGES) -> dict[ImageId, Sequence[str]]:
    """Generate the five captions of each scene, without the images."""
    generator = np.random.default_rng(0)
    return {row: describe(sample_layout(generator), generator) for row in range(num_images)}


def _check_equal(found: ArrayLike, expected: ArrayLike) -> None:
    if not np.allclose(found, expected, rtol=0, atol=1e-6):
        raise AssertionError("the scores differ from pycocoevalcap's, so their times cannot be compared")
