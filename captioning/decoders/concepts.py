"""The words that a detector finds in an image, as token ids of the captions' vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


class Concepts:
    """The words of a detector, in the vocabulary of a decoder.

    Args:
        ids: the token id of each of the detector's W words, or -1 if the vocabulary lacks the word.
        threshold: τ, the probability from which a word counts as detected.

    Attributes:
        num_absent: how many of the detector's words the vocabulary lacks; they are never detected.

    Raises:
        InputError: two words have the same id, or τ is not in (0, 1].
    """

    def __init__(self, ids: Sequence[int], threshold: float) -> None:
        present = [i for i in ids if i >= 0]
        if len(set(present)) < len(present):
            twice = next(i for i in present if present.count(i) > 1)
            raise InputError(
                f"concepts: token id {twice} occurs more than once, expected each word of the detector once"
            )
        if not 0 < threshold <= 1:
            raise InputError(f"threshold={threshold} must be above 0 and at most 1")
        self.ids, self.threshold = tuple(ids), threshold
        self.num_absent = len(ids) - len(present)

    def check(self, vocab_size: int) -> None:
        """Check that every word is in a vocabulary of V tokens.

        Raises:
            InputError: an id is V or above.
        """
        if any(i >= vocab_size for i in self.ids):
            raise InputError(f"concepts: token id {max(self.ids)} is outside the vocabulary of {vocab_size}")

    def detected(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Find the words of each image whose probability is at least τ, the most probable first.

        Returns:
            Their token ids, (I, D) int64, where D is the largest number of words of an image, and the logarithms of
            their probabilities, (I, D). An image of fewer words has -inf and any id in the other places.

        Raises:
            InputError: the features have no probabilities of words, or not as many as there are concepts.
        """
        words = features.words
        if not self.ids:
            none = features.pooled.new_zeros(features.pooled.shape[0], 0)
            return none.long(), none
        if words is None:
            raise InputError(
                "this model mentions detected words, but the features have none; use an encoder with a word detector"
            )
        if words.shape[1] != len(self.ids):
            raise InputError(
                f"the features have probabilities of {words.shape[1]} words, expected {len(self.ids)}; use the word "
                "detector with which the model was trained"
            )
        ids = torch.tensor(self.ids, device=words.device)
        present = (words >= self.threshold) & (ids >= 0)
        log_scores = torch.where(present, words, 1.0).log().masked_fill(~present, -torch.inf)
        best, order = log_scores.topk(max(present.sum(1).tolist(), default=0), dim=1)
        return ids[order].clamp(min=0), best
