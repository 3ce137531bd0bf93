"""The several captions that a search finds of each image: how different they are, and how good the best one is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from captioning.metrics import METRICS, tokenize
from captioning.metrics.diversity import oracle, self_cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.resources import Resources

MOST = 20
"""So many captions of an image are described: self-CIDEr compares each with each, and a search can find thousands."""
ORACLES = {"BLEU": "BLEU-4", "CIDEr": "CIDEr"}
"""The scores of the best caption of each image, by metric."""


def describe_alternatives(captions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Describe the captions of each image.

    Args:
        captions: of each image, as they were written, best first; their number may differ between images.
        references: of the same images.

    Returns:
        Empty if no image has two captions. Else `per_image`, the mean number of captions; `different`, the mean share
        of an image's captions that differ from its others; `self-CIDEr` (Wang and Chan 2019, arXiv:1903.12020) with the
        document frequencies of the references, the mean over images with two captions or more; and `oracle BLEU-4` and
        `oracle CIDEr`, the scores of the captions that are best for each image. An image without captions has the
        empty caption there.
    """
    if all(len(own) < 2 for own in captions):
        return {}
    found = list(tokenize(dict(enumerate(captions))).values())
    tokens = list(tokenize(dict(enumerate(references))).values())
    several = [own for own in found if len(own) > 1]
    scores = {
        "per_image": fmean(map(len, captions)),
        "different": fmean(len(set(own)) / len(own) for own in found if own),
        "self-CIDEr": float(self_cider(several, DocumentFrequencies.of(tokens)).mean()),
    }
    resources = Resources(references, tokens)
    for name, score in ORACLES.items():
        metric = METRICS[name].of(resources)
        best = metric.statistics(oracle(metric, [own or [""] for own in found], score)).sum(0)
        scores[f"oracle {score}"] = float(metric.scores(best)[metric.names.index(score)])
    return scores
