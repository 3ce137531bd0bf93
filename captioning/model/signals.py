"""Signals that say how far a caption can be trusted.

The rarity of a token is -log f, where f is the share of training images with a reference that has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from captioning.search.hypotheses import Hypotheses, Search

Floats = NDArray[np.float64]

CAPTION_SIGNALS = ("log_prob", "agreement", "rarity", "distance", "words")
"""Of a caption: its log-probability per token, its agreement with the other hypotheses, the mean rarity of its tokens,
the logarithm of the image's distance from the training images, and the mean logarithm of its words' confidences."""
WORD_SIGNALS = ("probability", "frequency", "frequency_squared", "product")
"""Of a token: the logit of its probability, the logit of its f, the square of this logit, and the product of both."""
_LARGEST_LOGIT = 8.0


def searching_all(search: Search) -> Search:
    """Let a search that keeps some of its beams return all, among which a caption's agreement is measured.

    The best caption stays the same.
    """
    settings = search.settings()
    if not {"beam_size", "num_best"} <= settings.keys():
        return search
    return cast(Search, replace(cast(Any, search), num_best=settings["beam_size"]))


def first(found: Hypotheses, num_best: int) -> Hypotheses:
    """Return the first hypotheses of each image, as a search with this `num_best` returns them."""
    return Hypotheses(**{name: value[:, :num_best] for name, value in vars(found).items()})


def token_frequencies(images: Iterable[Collection[int]], vocab_size: int) -> Floats:
    """Compute f of each token, (V), between 0 and 1: half an image is added to those with the token and those without.

    Args:
        images: the tokens of all references of each training image.
        vocab_size: V.
    """
    counts, num_images = np.zeros(vocab_size), 0
    for tokens in images:
        counts[list(set(tokens))] += 1
        num_images += 1
    frequencies: Floats = (counts + 0.5) / (num_images + 1)
    return frequencies


def caption_signals(found: Hypotheses, frequencies: Floats, distances: Floats, eos: int) -> Floats:
    """Compute the first four signals of the best caption of each image, (I, 4); -inf as the first if there is none.

    Args:
        found: the hypotheses of I images.
        frequencies: (V) f.
        distances: (I) of the images from the training images.
        eos: the id of `<eos>`, which is no word.
    """
    rarity = -np.log(frequencies)
    lengths, scores = found.lengths.double().cpu().numpy(), found.scores.double().cpu().numpy()
    rows = []
    for captions, length, score, distance in zip(_tokens(found, eos), lengths, scores, distances, strict=True):
        mean = score[0] / length[0] if length[0] else -np.inf
        best = captions[0] if captions else []
        own = float(rarity[best].mean()) if best else 0.0
        rows.append((mean, _agreement(captions, rarity), own, np.log(distance + 1e-12)))
    return np.array(rows, np.float64).reshape(-1, len(CAPTION_SIGNALS) - 1)


def with_words(signals: Floats, words: Sequence[Floats]) -> Floats:
    """Add the last signal to the first four of I captions, which makes (I, 5).

    Args:
        signals: from `caption_signals`.
        words: the confidences of each caption's tokens; NaN for `<eos>`, which is no word.
    """
    logarithms = [np.log(own[~np.isnan(own)]) for own in words]
    return np.column_stack([signals, [own.mean() if own.size else 0.0 for own in logarithms]])


def word_signals(log_probs: Sequence[float], tokens: Sequence[int], frequencies: Floats) -> Floats:
    """Compute the signals of T tokens, (T, 4).

    Args:
        log_probs: (T) of the tokens.
        tokens: (T) ids.
        frequencies: (V) f.
    """
    frequency = _logit(frequencies[np.array(tokens, np.int64)])
    probability = _logit(np.exp(np.array(log_probs, np.float64)))
    return np.column_stack([probability, frequency, frequency**2, probability * frequency])


def _logit(probabilities: Floats) -> Floats:
    """Compute log p / (1 - p), at most 8 and at least -8."""
    limit = 1 / (1 + np.exp(_LARGEST_LOGIT))
    kept = np.clip(probabilities, limit, 1 - limit)
    logits: Floats = np.log(kept / (1 - kept))
    return logits


def _tokens(found: Hypotheses, eos: int) -> list[list[list[int]]]:
    """Return the tokens of the captions of each image without `<eos>`, best first."""
    return [
        [[i for i in ids[:length] if i != eos] for ids, length in zip(own, lengths, strict=True) if length]
        for own, lengths in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
    ]


def _agreement(captions: Sequence[Sequence[int]], rarity: Floats) -> float:
    """Compute the mean Dice coefficient of the first caption's tokens and those of each other one; 1 without others.

    Each different token counts with its rarity, so that captions do not agree because of words such as "a".
    """
    if len(captions) < 2:
        return 1.0
    best, *others = map(set, captions)

    def weight(tokens: set[int]) -> float:
        return float(rarity[list(tokens)].sum())

    return float(np.mean([2 * weight(best & own) / max(weight(best) + weight(own), 1e-12) for own in others]))
