"""Batched beam search with exact early stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beams import Beams, pick
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import LengthRule, as_rule
from captioning.search.log_probs import check_memory, next_log_probs
from captioning.search.processors import Processor, never
from captioning.text.tokenizer import SpecialTokens

WIDEST = 1024
"""The largest `beam_size`."""


@dataclass(frozen=True, kw_only=True)
class BeamSearch(Search):
    """Keeps the K most probable unfinished prefixes of every image; each of them is a row of one batch.

    Each step finds the 2K best continuations of an image. If one of the K best ends with `<eos>`, it becomes a
    hypothesis. The K best of those that do not end are continued. An image leaves the batch as soon as none of its
    prefixes can displace one of its n best hypotheses. This stop is exact, because a prefix's log-probability only
    falls. Ties are broken as `torch.topk` breaks them. Prefixes that reach `max_length` become unfinished hypotheses
    only if an image has fewer than n finished ones.

    Args:
        beam_size: K, at most 1,024.
        num_best: n, at most K.
        length_normalization: how hypotheses are ordered. A number is α: the rank of a hypothesis is log-probability /
            length^α, so 0 orders by probability, 1 by the mean log-probability of a token. Or any `LengthRule`. The
            returned scores are log-probabilities in any case.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: K is above 1,024, `num_best` is not in 1..K, `length_normalization` is not in 0..10, or `max_length`
            is out of range. Or a search does not fit in memory, or finds NaN.
    """

    beam_size: int = 5
    max_length: int = 30
    num_best: int = 1
    length_normalization: float | LengthRule = 0.0
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beams(self.beam_size, self.num_best)
        as_rule(self.length_normalization)

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_best`."""
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        rule = as_rule(self.length_normalization)
        num_images, device = len(features), features.pooled.device
        check_memory(num_images, self.beam_size, decoder.vocab_size, device, setting="beam_size")
        best = Best(num_images, self.num_best, self.max_length, special.pad, device)
        images = torch.arange(num_images, device=device)  # (i,) the images that are still searched
        beams = Beams.empty(num_images, device)
        state, last = decoder.start(features), torch.full((num_images,), special.bos, device=device)
        for t in range(self.max_length):
            logits, state = decoder.step(last, state)
            log_probs = next_log_probs(logits, processors, t, beams.tokens.flatten(0, 1), images)
            found = beams.continuations(log_probs, self.beam_size)
            ends, alive = found.words == special.eos, found.first(self.beam_size)
            if ends.any():
                ranks = rule.rank(alive.scores, t + 1).masked_fill(~ends[:, : self.beam_size], -torch.inf)
                best.add(images, beams.extended(alive), ranks, finished=True)
                scores, index = found.scores.masked_fill(ends, -torch.inf).topk(alive.scores.shape[1], dim=1)
                alive = found.pick(index, scores)
            beams, source, last = beams.extended(alive), alive.rows, alive.words
            if t + 1 == self.max_length:
                best.fill(images, beams)
                break
            bound = rule.bound(beams.scores[:, 0], t + 1, self.max_length)
            running = (best.ranks[images, -1] < bound).nonzero()[:, 0]
            if not len(running):
                break
            if len(running) < len(images):
                images, beams = images[running], beams.images(running)
                source, last = source[running], last[running]
            state, last = state.rows(source.flatten()), last.flatten()
        return best.hypotheses(t + 1)


def check_beams(beam_size: int, num_best: int) -> None:
    """Check the number of beams, and of captions that they hold.

    Raises:
        InputError: one is out of range.
    """
    if not 1 <= num_best <= beam_size:
        raise InputError(f"num_best={num_best} must be in 1..beam_size={beam_size}")
    if beam_size > WIDEST:
        raise InputError(f"beam_size={beam_size} must be at most {WIDEST}")


class Best:
    """The n best hypotheses of each of I images, ordered by rank; the rank is -inf where there is none."""

    def __init__(self, num_images: int, n: int, max_length: int, pad: int, device: torch.device) -> None:
        shape = (num_images, n)
        self.pad = pad
        self.tokens = torch.full((*shape, max_length), pad, device=device)
        self.token_scores = torch.zeros(*shape, max_length, device=device)
        self.lengths = torch.zeros(shape, dtype=torch.int64, device=device)
        self.finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self.ranks = torch.full(shape, -torch.inf, device=device)

    def add(self, images: Tensor, beams: Beams, ranks: Tensor, *, finished: bool) -> None:
        """Add hypotheses from `beams`, and keep the n best of each image.

        Args:
            images: (i,) the images of `beams`.
            beams: the first c of each image are candidates.
            ranks: (i, c), the candidates' ranks; -inf for those that are not hypotheses.
            finished: whether the candidates end with `<eos>`.
        """
        touched = (ranks > -torch.inf).any(1).nonzero()[:, 0]
        if not len(touched):
            return
        at, (n, max_length), count = images[touched], self.tokens.shape[1:], ranks.shape[1]
        self.ranks[at], order = torch.cat([self.ranks[at], ranks[touched]], 1).topk(n, dim=1)
        length = beams.tokens.shape[2]
        room = (0, max_length - length)
        tokens = F.pad(beams.tokens[touched, :count], room, value=self.pad)
        token_scores = F.pad(beams.token_scores[touched, :count], room)
        lengths, ended = torch.full_like(tokens[..., 0], length), tokens.new_full(tokens.shape[:2], finished)
        for kept, new in (
            (self.tokens, tokens),
            (self.token_scores, token_scores),
            (self.lengths, lengths),
            (self.finished, ended.bool()),
        ):
            kept[at] = pick(torch.cat([kept[at], new], 1), order)

    def fill(self, images: Tensor, beams: Beams) -> None:
        """Fill up to n with unfinished hypotheses, and order them after all finished ones."""
        n, count = self.ranks.shape[1], beams.scores.shape[1]
        order = torch.arange(n + count, device=images.device, dtype=torch.float32)
        self.ranks[images] = torch.where(self.ranks[images] > -torch.inf, -order[:n], -torch.inf)
        self.add(images, beams, torch.where(beams.scores > -torch.inf, -order[n:], -torch.inf), finished=False)

    def hypotheses(self, steps: int) -> Hypotheses:
        """Return the hypotheses that were found in `steps` steps."""
        none = self.ranks == -torch.inf
        return Hypotheses(
            tokens=self.tokens[:, :, :steps].masked_fill(none[..., None], self.pad),
            lengths=self.lengths.masked_fill(none, 0),
            scores=self.token_scores.sum(2).masked_fill(none, -torch.inf),
            token_scores=self.token_scores[:, :, :steps].masked_fill(none[..., None], 0.0),
            finished=self.finished & ~none,
        )
