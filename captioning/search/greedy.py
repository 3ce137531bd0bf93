"""The most probable word at each step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Processor, apply, never
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
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        state = decoder.start(features)
        num_images, device = len(features), features.pooled.device
        tokens = torch.full((num_images, self.max_length), special.pad, device=device)
        token_scores = torch.zeros(num_images, self.max_length, device=device)
        images = torch.arange(num_images, device=device)  # those whose caption has not ended
        last = torch.full((num_images,), special.bos, device=device)
        for t in range(self.max_length):
            logits, state = decoder.step(last, state)
            log_probs = apply(processors, t, tokens[images, :t], logits.float().log_softmax(1))
            best, last = log_probs.max(1)
            tokens[images, t], token_scores[images, t] = last, best
            running = ((last != special.eos) & (best > -torch.inf)).nonzero()[:, 0]
            if len(running) < len(images):
                images, last, state = images[running], last[running], state.rows(running)
            if not len(images):
                break
        scores = token_scores.sum(1, keepdim=True)
        none = scores == -torch.inf
        tokens = tokens[:, : t + 1].masked_fill(none, special.pad)
        return Hypotheses(
            tokens=tokens[:, None],
            lengths=(tokens != special.pad).sum(1, keepdim=True),
            scores=scores,
            token_scores=token_scores[:, None, : t + 1].masked_fill(none[..., None], 0.0),
            finished=(tokens == special.eos).any(1, keepdim=True),
        )
