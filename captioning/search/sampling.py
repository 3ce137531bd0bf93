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
from captioning.search.drawing import Kept
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.one_by_one import one_by_one
from captioning.search.processors import Processor, never
from captioning.search.random_numbers import generators
from captioning.text.tokenizer import SpecialTokens

MOST, LARGEST_SEED = 10_000, 2**63 - 1
"""The largest `num_samples` and `seed`."""
SHARES = ("top_p", "min_p", "typical_p")
"""The filters of which one can be given."""


@dataclass(frozen=True, kw_only=True)
class Sampling(Search):
    """Draws each token from softmax(logits / τ), or from a part of the tokens of that distribution.

        p_w ∝ exp(log p(w) / τ)                              over the tokens that are allowed
        p'_w ∝ p_w  for w in V', else 0                      V': the tokens that the filters keep

    Top-k keeps the k most probable tokens. Of these, one further filter may keep a part, by their renormalised
    probabilities:

        top-p      the most probable tokens, until their share is p (arXiv:1904.09751)
        min-p      those with at least p times the probability of the most probable one (arXiv:2407.01082)
        typical    those whose -log p_w is nearest to the entropy, until their share is p (arXiv:2202.00666)

    Each draw inverts the cumulative distribution function at a random number, until the filter keeps the word
    (`drawing.py`).

    The returned scores are the decoder's own log-probabilities, whatever τ and the filters are. The samples of an image
    are ordered best first and may be equal; truncated ones come after those that ended. Processors act before τ. If
    they forbid every token, the image gets no caption: its length is 0 and its score -inf.

    Nothing is drawn from torch's global generator. Each image has its own random numbers, which follow from `seed` and
    the order of its largest pooled features. So an image gets the same samples in each call and in any batch, unless
    rounding decides between two words or two features. Images whose largest features have the same order share their
    random numbers. If the encoder reads no images, all images share them.

    Args:
        temperature: τ; below 1 sharpens, above 1 flattens.
        top_k: k; None for all tokens.
        top_p: p of top-p, in (0, 1]; None for all tokens. Only one of top_p, min_p and typical_p can be given.
        min_p: p of min-p, in (0, 1].
        typical_p: p of typical sampling, in (0, 1].
        num_samples: n, the captions per image; at most 10,000.
        seed: another seed draws other captions.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, or more than one of `top_p`, `min_p` and `typical_p` is given.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
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
        shares = {name: getattr(self, name) for name in SHARES if getattr(self, name) is not None}
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise InputError(f"{name}={share} must be above 0 and at most 1, or null for all tokens")
        if len(shares) > 1:
            raise InputError(
                f"found {' and '.join(shares)}, expected one of {', '.join(SHARES)}; set the others to null"
            )
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
        kept = Kept(top_k=self.top_k, **{name: getattr(self, name) for name in SHARES})
        limits = torch.finfo(torch.float32)
        temperature = min(max(self.temperature, limits.tiny), limits.max)

        def draw(rows: Tensor, log_probs: Tensor) -> Tensor:
            best = log_probs.amax(1, keepdim=True).clamp(min=limits.min)  # divided first, it could overflow
            scores = log_probs if temperature == 1 else (log_probs - best) / temperature
            return kept.draw(scores, self._uniform(of_images, rows, kept.numbers))

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

    def _uniform(self, generators: Sequence[torch.Generator], rows: Tensor, count: int) -> Tensor:
        """Draw numbers in [0, 1) for each unfinished row, (b, count) float64."""
        # While any sample of an image is unfinished, numbers are drawn for all its samples. So the number of a sample
        # does not depend on when the others end.
        image, sample = rows.cpu() // self.num_samples, rows.cpu() % self.num_samples
        images, index = torch.unique(image, return_inverse=True)
        uniform = torch.empty(len(images), self.num_samples, count, dtype=torch.float64)
        for own, i in zip(uniform, images.tolist(), strict=True):
            own.uniform_(generator=generators[i])
        return uniform[index, sample].to(rows.device)

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
