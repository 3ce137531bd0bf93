"""Captions drawn at random, as the decoder says how probable they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.one_by_one import one_by_one
from captioning.search.processors import Processor, never
from captioning.seeds import seed_of
from captioning.text.tokenizer import SpecialTokens

_NUM_CHANNELS = 8  # whose order tells one image from another


class Sampling(Search):
    """Draw each token from softmax(logits / τ), or from the head of that distribution.

    Source: top-p, the nucleus, is Holtzman et al.'s (2020, arXiv:1904.09751), top-k is Fan et al.'s (2018,
    arXiv:1805.04833).

        p_w ∝ exp(log p(w) / τ)                              over the tokens that may be chosen
        p'_w ∝ p_w  for w in V', else 0                      V': the k most probable tokens, and of these the fewest
                                                             most probable ones that hold p of their sum

    The draw is argmax_w (log p'_w + g_w) with Gumbel noise g, which rounding upsets least (Maddison et al. 2014,
    arXiv:1411.0030).

    Scores that are returned are the decoder's own log-probabilities, whatever τ, k and p are. Samples of an image stand
    best first and may be equal; those that were cut at the longest length stand behind those that ended.

    Nothing is drawn from torch's global generator. An image has random numbers of its own, which follow from `seed` and
    the order of its largest pooled features: it gets the same samples in each call, wherever it stands in whatever
    batch, unless rounding decides between two words or two features. Images with the same pooled features, such as
    all of an encoder that sees nothing, share their random numbers.

    Args:
        temperature: τ; below 1 sharpens, above 1 flattens.
        top_k: k; None for all tokens.
        top_p: p, in (0, 1]; None for all tokens.
        num_samples: n, captions an image.
        seed: another one draws other captions.
        max_length: tokens at most, `<eos>` included.
        allow_unknown: whether `<unk>` may be chosen.
        processors: applied in order to each step's log-probabilities, before τ. Where they forbid every token there is
            no caption: length 0, score -inf.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_samples: int = 1,
        seed: int = 1,
        max_length: int = 30,
        allow_unknown: bool = False,
        processors: Sequence[Processor] = (),
    ) -> None:
        if temperature == 0:
            raise InputError(
                "temperature=0 would leave nothing to chance; use greedy search, which takes the most probable token"
            )
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature={temperature} must be a number above 0")
        if top_p is not None and not 0 < top_p <= 1:
            raise InputError(f"top_p={top_p} must be above 0 and at most 1, or null for all tokens")
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k={top_k} must be at least 1, or null for all tokens")
        if num_samples < 1 or max_length < 1 or seed < 0:
            raise InputError(
                f"num_samples={num_samples} and max_length={max_length} must be at least 1, and seed={seed} at least 0"
            )
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.num_samples, self.seed = num_samples, seed
        self.max_length, self.allow_unknown, self.processors = max_length, allow_unknown, tuple(processors)

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_samples`."""
        generators = self._generators(features)

        def draw(rows: Tensor, log_probs: Tensor) -> Tensor:
            scores = self._filtered(log_probs.double() / self.temperature)
            return (scores + self._gumbel(generators, rows, scores)).argmax(1)

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

    def _generators(self, features: ImageFeatures) -> list[torch.Generator]:
        """Each image's own."""
        # The order of an image's channels survives rounding, which differs with the batch that it is encoded in.
        order = features.pooled.sort(dim=1, descending=True, stable=True).indices[:, :_NUM_CHANNELS]
        return [torch.Generator().manual_seed(seed_of(self.seed, *channels)) for channels in order.tolist()]

    def _gumbel(self, generators: Sequence[torch.Generator], rows: Tensor, like: Tensor) -> Tensor:
        """Gumbel noise for the rows that still run, (b, V) as `like`."""
        # While one of its samples runs, an image draws for all of them: what it draws depends on it alone.
        image, sample = rows.cpu() // self.num_samples, rows.cpu() % self.num_samples
        images, place = torch.unique(image, return_inverse=True)
        uniform = like.new_empty(len(images), self.num_samples, like.shape[1], device="cpu")
        for own, i in zip(uniform, images.tolist(), strict=True):
            own.uniform_(generator=generators[i])
        return -(-uniform[place, sample].to(like.device).log()).log()

    def _filtered(self, scores: Tensor) -> Tensor:
        """Give -inf to all but the head of the distribution of `scores`, (b, V)."""
        if self.top_k is not None:
            best, words = scores.topk(min(self.top_k, scores.shape[1]), dim=1)
            scores = torch.full_like(scores, -torch.inf).scatter(1, words, best)
        if self.top_p is not None:
            p, words = scores.softmax(1).sort(dim=1, descending=True, stable=True)
            full = p.cumsum(1) - p >= self.top_p  # those before it hold enough
            scores = scores.masked_fill(torch.zeros_like(full).scatter(1, words, full), -torch.inf)
        return scores

    def _best_first(self, tokens: Tensor, token_scores: Tensor, sums: Tensor, special: SpecialTokens) -> Hypotheses:
        """The rows' captions, (I n, T), by image."""

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
