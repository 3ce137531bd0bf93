"""Stochastic beam search: different captions, drawn without replacement from the decoder's distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beams import pick
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.log_probs import check_memory, next_log_probs
from captioning.search.processors import Processor, never
from captioning.search.random_numbers import generators
from captioning.text.tokenizer import SpecialTokens

MOST, LARGEST_SEED = 1024, 2**63 - 1
"""The largest `num_samples` and `seed`."""


@dataclass(frozen=True, kw_only=True)
class StochasticBeamSearch(Search):
    """Draws n different captions of each image, one after the other, each from those that are not yet drawn.

    Source: Kool et al. 2019 (arXiv:1903.06059), algorithm 1 and appendix B.3. The n captions of the largest perturbed
    log-probabilities G are such a sample (Gumbel top-k). A beam of n prefixes finds them, because a prefix's G is the
    largest of its captions' G:

        φ'  = φ + log p'(w)                                  log-probability of a continuation
        G̃'  = φ' + g                                         g: Gumbel noise
        v   = G - G̃' + log(1 - exp(G̃' - Z))                  Z: the largest G̃' of the prefix's continuations
        G'  = G - max(0, v) - log(1 + exp(-|v|))             their largest is G

    p' is softmax(log p / τ) over the tokens that are allowed. Captions are drawn from this distribution; a caption that
    is truncated at `max_length` stands for all that begin with it. The returned scores are the decoder's own
    log-probabilities. They order the captions; truncated ones come after those that ended. If there are fewer than n
    captions, the rest are no hypotheses.

    As `Sampling`, this draws nothing from torch's global generator, and an image's captions do not depend on its batch.

    Args:
        temperature: τ; below 1 sharpens, above 1 flattens.
        num_samples: n, the captions per image; at most 1,024.
        seed: another seed draws other captions.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: `temperature`, `num_samples`, `seed` or `max_length` is out of range, or the search does not fit in
            memory.
    """

    temperature: float = 1.0
    num_samples: int = 5
    seed: int = 1
    max_length: int = 30
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature={self.temperature} must be a number above 0")
        if not 1 <= self.num_samples <= MOST:
            raise InputError(f"num_samples={self.num_samples} must be in 1..{MOST}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed={self.seed} must be at least 0 and at most 2^63 - 1")

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_samples`."""
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        num_images, device = len(features), features.pooled.device
        check_memory(num_images, self.num_samples, decoder.vocab_size, device, setting="num_samples")
        noise = _Noise(generators(features, self.seed), self.num_samples, decoder.vocab_size)
        drawn = _Drawn.start(num_images, device)
        state, last = decoder.start(features), torch.full((num_images,), special.bos, device=device)
        for t in range(self.max_length):
            image, place = drawn.open.nonzero(as_tuple=True)  # (r) the rows of `state`
            logits, state = decoder.step(last, state)
            log_probs = next_log_probs(logits, processors, t, drawn.tokens[image, place], image)
            phi = drawn.phi[image, place, None] + self._normalised(log_probs)
            perturbed = conditional_gumbel(phi, noise(image, place).to(device), drawn.perturbed[image, place, None])
            drawn, source = drawn.grow((image, place), log_probs, phi, perturbed, self.num_samples, special)
            if not drawn.open.any():
                break
            state, last = state.rows(source), drawn.tokens[:, :, -1][drawn.open]
        return drawn.hypotheses(self.num_samples, special)

    def _normalised(self, log_probs: Tensor) -> Tensor:
        """Compute log p', (r, V) float64; -inf where every token is forbidden."""
        scaled = log_probs.double() / self.temperature
        return scaled.log_softmax(1).masked_fill(scaled == -torch.inf, -torch.inf)


def conditional_gumbel(phi: Tensor, gumbel: Tensor, largest: Tensor) -> Tensor:
    """Draw Gumbel variables of locations `phi` under the condition that the largest of each row is given.

    Args:
        phi: (r, V) float64.
        gumbel: independent Gumbel noise, (r, V).
        largest: G of each row, (r, 1).

    Returns:
        G', (r, V); -inf where `phi` is.
    """
    unconditional = phi + gumbel  # G̃'
    z = unconditional.amax(1, keepdim=True)
    below = (unconditional - z).masked_fill(z == -torch.inf, -torch.inf)
    v = largest - unconditional + log1mexp(below)
    perturbed = largest - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
    return perturbed.masked_fill(phi == -torch.inf, -torch.inf)


def log1mexp(x: Tensor) -> Tensor:
    """Compute log(1 - exp(x)) for x <= 0; both forms are accurate where they are used (Mächler 2012)."""
    return torch.where(x > -math.log(2), (-torch.expm1(x)).log(), torch.log1p(-x.exp()))


class _Noise:
    """Gumbel noise of each image's prefixes, from the image's own generator.

    While an image has an open prefix, noise is drawn for all n places. So it does not depend on when others end.
    """

    def __init__(self, generators: Sequence[torch.Generator], num_samples: int, vocab_size: int) -> None:
        self.generators, self.shape = generators, (num_samples, vocab_size)

    def __call__(self, image: Tensor, place: Tensor) -> Tensor:
        """Return the noise of the prefixes of images at places, (r, V) float64."""
        images, index = torch.unique(image.cpu(), return_inverse=True)
        uniform = torch.empty(len(images), *self.shape, dtype=torch.float64)
        for own, i in zip(uniform, images.tolist(), strict=True):
            own.uniform_(generator=self.generators[i])
        return -(-uniform[index, place.cpu()].log()).log()


@dataclass(frozen=True)
class _Drawn:
    """The prefixes and captions of I images that have the largest G so far, from the largest on.

    Attributes:
        tokens: (I, k, t) int64.
        token_scores: (I, k, t), the decoder's log-probability of each token.
        phi: φ, (I, k) float64.
        perturbed: G, (I, k) float64; -inf where an image has fewer than k.
        open: (I, k) bool, True for prefixes that have not ended.
    """

    tokens: Tensor
    token_scores: Tensor
    phi: Tensor
    perturbed: Tensor
    open: Tensor

    @classmethod
    def start(cls, num_images: int, device: torch.device) -> _Drawn:
        """Return the empty prefix of each image. Its G is 0; another value would shift all G alike."""
        zero = torch.zeros(num_images, 1, dtype=torch.float64, device=device)
        return cls(
            tokens=torch.zeros(num_images, 1, 0, dtype=torch.int64, device=device),
            token_scores=torch.zeros(num_images, 1, 0, device=device),
            phi=zero,
            perturbed=zero,
            open=torch.ones(num_images, 1, dtype=torch.bool, device=device),
        )

    def grow(
        self,
        rows: tuple[Tensor, Tensor],
        log_probs: Tensor,
        phi: Tensor,
        perturbed: Tensor,
        num_samples: int,
        special: SpecialTokens,
    ) -> tuple[_Drawn, Tensor]:
        """Choose the n largest G among the captions so far and the continuations of the open prefixes.

        Args:
            rows: image and place of the r open prefixes.
            log_probs: the decoder's, of each continuation, (r, V).
            phi: φ', (r, V).
            perturbed: G', (r, V).
            num_samples: n.
            special: the special tokens' ids.

        Returns:
            The chosen ones, and the row that each of those that are open continues.
        """
        num_images, width = self.open.shape
        best, words = perturbed.topk(min(num_samples, perturbed.shape[1]), dim=1)

        def spread(of_captions: Tensor, of_rows: Tensor, empty: float) -> Tensor:
            """Put the values of the rows, (r, c), and those of the captions, (I, k), side by side: (I, k·(c + 1))."""
            at_rows = of_rows.new_full((num_images, width, of_rows.shape[1]), empty).index_put(rows, of_rows)
            return torch.cat([at_rows, of_captions[..., None]], 2).flatten(1)

        zeros = torch.zeros(num_images, width, device=phi.device)
        keys = spread(self.perturbed.masked_fill(self.open, -torch.inf), best, -torch.inf)
        largest, chosen = keys.topk(min(num_samples, keys.shape[1]), dim=1)
        word = spread(zeros.long() + special.pad, words, special.pad).gather(1, chosen)
        score = spread(zeros, log_probs.gather(1, words), 0.0).gather(1, chosen)
        from_ = chosen // (best.shape[1] + 1)
        none = largest == -torch.inf
        open_ = ~none & self.open.gather(1, from_) & (word != special.eos)
        number = torch.zeros_like(self.open, dtype=torch.int64).index_put(
            rows, torch.arange(len(best), device=best.device)
        )
        grown = _Drawn(
            tokens=torch.cat([pick(self.tokens, from_), word[..., None]], 2),
            token_scores=torch.cat([pick(self.token_scores, from_), score[..., None]], 2),
            phi=spread(self.phi, phi.gather(1, words), -torch.inf).gather(1, chosen),
            perturbed=largest,
            open=open_,
        )
        return grown, number.gather(1, from_)[open_]

    def hypotheses(self, num_samples: int, special: SpecialTokens) -> Hypotheses:
        """Order the captions of each image."""
        none = self.perturbed == -torch.inf
        tokens, token_scores = self.tokens.masked_fill(none[..., None], special.pad), self.token_scores
        finished = (tokens == special.eos).any(2)
        scores = token_scores.sum(2).masked_fill(none, -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, finished.gather(1, order).byte().argsort(dim=1, descending=True, stable=True))
        missing = num_samples - order.shape[1]  # where so few captions exist
        tokens, token_scores = pick(tokens, order), pick(token_scores.masked_fill(none[..., None], 0.0), order)
        return Hypotheses(
            tokens=F.pad(tokens, (0, 0, 0, missing), value=special.pad),
            lengths=F.pad((tokens != special.pad).sum(2), (0, missing)),
            scores=F.pad(scores.gather(1, order), (0, missing), value=-torch.inf),
            token_scores=F.pad(token_scores, (0, 0, 0, missing)),
            finished=F.pad(finished.gather(1, order), (0, missing)),
        )
