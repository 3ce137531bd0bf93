"""Rewards of captions that a model has sampled: a weighted sum of scores, with references that are prepared once.

Self-critical training (arXiv:1612.00563) rewards CIDEr-D. Its document frequencies are those of the references, which
are the training split's. Captions and references are tokenized as in evaluation, so without the end token a reward
is what `CocoScorer` gives the caption.

If the end token is counted, each reference ends with it as a last word, and so does each caption that a model has
ended. Without it, models learn to end captions in words such as "with a", which many references contain: a caption
that stops there loses nothing. Whether it was counted changes scores (arXiv:2305.12254), so `signature` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.metrics.checks import check_references
from captioning.metrics.files import ImageId
from captioning.metrics.metric import CaptionMetric
from captioning.metrics.resources import Resources
from captioning.metrics.table import METRICS, metric_class
from captioning.metrics.tokenization import PENN_TREEBANK

END = "<EOS>"
"""The end token as a word. The tokenizer writes words in lower case, so it never makes this one of a text."""


class Reward:
    """A weighted sum of scores of each caption.

    Args:
        references: the reference captions of each image, as published.
        weights: the weight of each score by its name, such as {"CIDEr": 1.0, "BLEU-4": 0.5}.
        end_token: whether the end token counts as a word of captions and references.

    Raises:
        InputError: there is no weight, one is not a number, or a score is unknown or not of single captions. Or an
            image has no reference.
    """

    def __init__(
        self, references: Mapping[ImageId, Sequence[str]], weights: Mapping[str, float], *, end_token: bool = True
    ) -> None:
        metrics = _metrics_of(weights)
        check_references(list(references.values()))
        tokens = list(PENN_TREEBANK.tokenize(references).values())
        if end_token:
            tokens = [[f"{reference} {END}".lstrip() for reference in group] for group in tokens]
        self.weights, self.end_token = dict(weights), end_token
        self._row = {image_id: row for row, image_id in enumerate(references)}
        self._digest = hashlib.sha256(json.dumps(tokens, ensure_ascii=False).encode()).hexdigest()[:16]
        resources = Resources(list(references.values()), tokens)
        self._metrics = {metric: metric.of(resources) for metric in dict.fromkeys(metrics.values())}
        self._columns = [(metrics[name], metrics[name].names.index(name), weight) for name, weight in weights.items()]

    def __call__(
        self, captions: Sequence[str], images: Sequence[ImageId], ended: Sequence[bool]
    ) -> NDArray[np.float64]:
        """Compute the reward of each caption.

        Args:
            captions: (N) captions as text; may be empty strings.
            images: (N) the id of each caption's image.
            ended: (N) whether the model ended the caption, which was not truncated.

        Returns:
            (N) rewards; scores are fractions, and CIDEr lies in [0, 10].

        Raises:
            InputError: an image has no references.
        """
        unknown = [image_id for image_id in images if image_id not in self._row]
        if unknown:
            raise InputError(
                f"{shown(unknown[0])} and {len(unknown) - 1} more captions are of images without references"
            )
        tokens = [text for (text,) in PENN_TREEBANK.tokenize({n: [text] for n, text in enumerate(captions)}).values()]
        if self.end_token:
            tokens = [f"{text} {END}".lstrip() if end else text for text, end in zip(tokens, ended, strict=True)]
        rows = np.array([self._row[image_id] for image_id in images], dtype=np.int64)
        scores = {
            kind: metric.image_scores(metric.statistics_of(tokens, rows)) for kind, metric in self._metrics.items()
        }
        rewards = np.zeros(len(tokens))
        for kind, column, weight in self._columns:
            rewards += weight * scores[kind][:, column]
        return rewards

    def signature(self) -> dict[str, Any]:
        """Report what determines the rewards."""
        return {
            "reward": self.weights,
            "end_token": "counted" if self.end_token else "not counted",
            "tokenizer": PENN_TREEBANK.name,
            "references": self._digest,
        }


def _metrics_of(weights: Mapping[str, float]) -> dict[str, type[CaptionMetric]]:
    """Return the metric of each score."""
    known: dict[str, type[CaptionMetric]] = {}
    for name in METRICS:
        metric = metric_class(name)
        if issubclass(metric, CaptionMetric):
            known |= dict.fromkeys(metric.names, metric)
    expected = f"expected a weight for some of {', '.join(known)}, such as {{CIDEr: 1.0}}"
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"reward={shown(weights)} names no metric; {expected}")
    for name, weight in weights.items():
        if name not in known:
            raise InputError(f"reward: {shown(name)} is no score of single captions; {expected}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not np.isfinite(weight):
            raise InputError(f"reward: the weight of {name} is {shown(weight)}, expected a number; {expected}")
    return {name: known[name] for name in weights}
