"""Greedy search: the most probable word at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.one_by_one import one_by_one
from captioning.search.processors import Processor, never
from captioning.search.vocabulary import most_probable_one
from captioning.text.tokenizer import SpecialTokens


@dataclass(frozen=True, kw_only=True)
class GreedySearch(Search):
    """Takes the most probable token at each step until `<eos>`; images whose caption has ended leave the batch.

    An image for which the processors forbid every token gets no caption: its length is 0 and its score -inf.

    Args:
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: `max_length` is not in 1..4096.
    """

    max_length: int = 30
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is 1."""
        tokens, token_scores, scores = one_by_one(
            decoder,
            features,
            special,
            choose=lambda _rows, log_probs: most_probable_one(log_probs),
            processors=(never(special, allow_unknown=self.allow_unknown), *self.processors),
            max_length=self.max_length,
        )
        return Hypotheses(
            tokens=tokens[:, None],
            lengths=(tokens != special.pad).sum(1, keepdim=True),
            scores=scores[:, None],
            token_scores=token_scores[:, None],
            finished=(tokens == special.eos).any(1, keepdim=True),
        )
