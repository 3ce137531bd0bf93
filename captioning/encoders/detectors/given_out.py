"""Which words are said of an image, from the precision of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioning.text.tokenizer import SPECIALS

FUNCTION_WORDS = frozenset(["a", "on", "of", "the", "in", "with", "and", "is", "to", "an", "two", "at", "next", "are"])
"""Words that do not count as content, as the official code lists them."""


def given_out(
    precisions: Tensor, vocabulary: Sequence[str], *, threshold: float = 0.5, least: int = 3
) -> list[list[int]]:
    """Choose the words of each image, the most precise first; words of equal precision in the order of their ids.

    A word is given out if its precision is at least `threshold`. So are, whatever their precision, the most precise
    words up to the one before content word number `least` + 1; all words but `FUNCTION_WORDS` are content words.
    Special tokens are never given out.

    Source: the official code of Fang et al. 2015 (arXiv:1411.4952), with 0.5 and 3.

    Args:
        precisions: (I, V) calibrated probabilities.
        vocabulary: the V tokens in the order of their ids.
        threshold: the precision at which a word is given out.
        least: the number of content words that every image gets.

    Returns:
        The ids of the words of each image.
    """
    content = torch.tensor([word not in FUNCTION_WORDS for word in vocabulary], device=precisions.device)
    word = torch.tensor([word not in SPECIALS for word in vocabulary], device=precisions.device)
    order = precisions.argsort(dim=1, descending=True, stable=True)
    kept = (precisions.gather(1, order) >= threshold) | ((content & word)[order].cumsum(1) <= least)
    return [ids[keep].tolist() for ids, keep in zip(order, kept & word[order], strict=True)]
