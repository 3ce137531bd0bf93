"""Sampling: captions drawn at random from the decoder's distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.one_by_one import one_by_one
from captioning.search.processors import Processor, never
from captioning.search.random_numbers import generators
from captioning.text.tokenizer import SpecialTokens

MOST, LARGEST_SEED = 10_000, 2**63 - 1
"""The largest `num_samples` and `seed`."""


@dataclass(frozen=True, kw_only=True)
class Sampling(Search):
    """Draws each token from softmax(logits / τ), or from the most probable tokens of that distribution.

    Source: top-p (nucleus) sampling by Holtzman et al. 2020 (arXiv:1904.09751), top-k by Fan et al. 2018
    (arXiv:1805.04833).

        p_w ∝ exp(log p(w) / τ)                              over the tokens that are allowed
        p'_w ∝ p_w  for w in V', else 0                      V': the tokens that top-k and top-p keep

    Top-k keeps the k most probable tokens. Top-p then keeps the smallest set of these that has at least a share of p
    of their total probability.

    The draw is argmax_w (log p'_w + g_w) with Gumbel noise g (Maddison et al. 2014, arXiv:1411.0030). Rounding
    errors in log p' rarely change the token that is drawn.

    The returned scores are the decoder's own log-probabilities, whatever τ, k and p are. The samples of an image are
    ordered best first and may be equal; truncated ones come after those that ended. Processors act before τ. If they
    forbid every token, the image gets no caption: its length is 0 and its score -inf.

    Nothing is drawn from torch's global generator. Each image has its own random numbers, which follow from `seed` and
    the order of its largest pooled features. So an image gets the same samples in each call and in any batch, unless
    rounding decides between two words or two features. Images whose largest features have the same order share their
    random numbers. If the encoder reads no images, all images share them.

    Args:
        temperature: τ; below 1 sharpens, above 1 flattens.
        top_k: k; None for all tokens.
        top_p: p, in (0, 1]; None for all tokens.
        num_samples: n, the captions per image; at most 10,000.
        seed: another seed draws other captions.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: `temperature`, `top_k`, `top_p`, `num_samples`, `seed` or `max_length` is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    num_samples: int = 1
    seed: int = 1
    max_length: int = 30
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature == 0:
            raise InputError("temperature=0 leaves nothing to chance; use greedy search instead")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature={self.temperature} must be a number above 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p} must be above 0 and at most 1, or null for all tokens")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k={self.top_k} must be at least 1, or null for all tokens")
        if self.num_samples < 1 or self.seed < 0:
            raise InputError(
                f"num_samples={self.num_samples} must be at least 1, and seed={self.seed} must be at least 0"
            )
        if self.num_samples > MOST or self.seed > LARGEST_SEED:
            raise InputError(
                f"num_samples={self.num_samples} must be at most {MOST}, and seed={self.seed} at most 2^63 - 1"
            )

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_samples`."""
        of_images = generators(features, self.seed)

        def draw(rows: Tensor, log_probs: Tensor) -> Tensor:
            scores = self._filtered(log_probs.double() / self.temperature)
            return (scores + self._gumbel(of_images, rows, scores)).argmax(1)

        tokens, token_scores, scores = one_by_one(
            decoder,
            features,
            special,
            choose=draw,
            processors=(never(special, allow_unknown=self.allow_unknown), *self.processors),
            max_length=self.max_length,
            rows_per_image=self.num_samples,
        )
        return self._best_first(tokens, token_scores, scores, special)

    def _gumbel(self, generators: Sequence[torch.Generator], rows: Tensor, like: Tensor) -> Tensor:
        """Draw Gumbel noise for the unfinished rows, (b, V) as `like`."""
        # While any sample of an image is unfinished, noise is drawn for all its samples. So the noise of a sample does
        # not depend on when the others end.
        image, sample = rows.cpu() // self.num_samples, rows.cpu() % self.num_samples
        images, index = torch.unique(image, return_inverse=True)
        uniform = like.new_empty(len(images), self.num_samples, like.shape[1], device="cpu")
        for own, i in zip(uniform, images.tolist(), strict=True):
            own.uniform_(generator=generators[i])
        return -(-uniform[index, sample].to(like.device).log()).log()

    def _filtered(self, scores: Tensor) -> Tensor:
        """Set all but the most probable tokens of `scores`, (b, V), to -inf."""
        if self.top_k is not None:
            best, words = scores.topk(min(self.top_k, scores.shape[1]), dim=1)
            scores = torch.full_like(scores, -torch.inf).scatter(1, words, best)
        if self.top_p is not None:
            p, words = scores.softmax(1).sort(dim=1, descending=True, stable=True)
            full = p.cumsum(1) - p >= self.top_p  # the more probable tokens reach p without it
            scores = scores.masked_fill(torch.zeros_like(full).scatter(1, words, full), -torch.inf)
        return scores

    def _best_first(self, tokens: Tensor, token_scores: Tensor, sums: Tensor, special: SpecialTokens) -> Hypotheses:
        """Group the captions of the rows, (I·n, T), by image and order them."""

        def by_image(x: Tensor) -> Tensor:
            return x.reshape(-1, self.num_samples, *x.shape[1:])

        scores = by_image(sums)
        finished = by_image((tokens == special.eos).any(1))
        order = scores.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, finished.gather(1, order).byte().argsort(dim=1, descending=True, stable=True))
        each = order[..., None].expand(-1, -1, tokens.shape[1])
        tokens = by_image(tokens).gather(1, each)
        return Hypotheses(
            tokens=tokens,
            lengths=(tokens != special.pad).sum(2),
            scores=scores.gather(1, order),
            token_scores=by_image(token_scores).gather(1, each),
            finished=finished.gather(1, order),
        )
