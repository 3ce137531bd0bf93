"""The most probable word at each step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.one_by_one import one_by_one
from captioning.search.processors import Processor, never
from captioning.text.tokenizer import SpecialTokens


class GreedySearch(Search):
    """Take the arg-max until `<eos>`; images whose caption has ended leave the batch.

    Args:
        max_length: tokens at most, `<eos>` included.
        allow_unknown: whether `<unk>` may be chosen.
        processors: applied in order to each step's log-probabilities. An image for which they forbid every
            token gets no caption: length 0, score -inf.

    Raises:
        InputError: `max_length` is below 1.
    """

    def __init__(
        self, *, max_length: int = 30, allow_unknown: bool = False, processors: Sequence[Processor] = ()
    ) -> None:
        if max_length < 1:
            raise InputError(f"max_length={max_length} must be at least 1")
        self.max_length, self.allow_unknown, self.processors = max_length, allow_unknown, tuple(processors)

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is 1."""
        tokens, token_scores, scores = one_by_one(
            decoder,
            features,
            special,
            choose=lambda _rows, log_probs: log_probs.argmax(1),
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
