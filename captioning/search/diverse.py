"""Diverse beam search: groups of beams that avoid each other's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import Best, check_beams
from captioning.search.beams import Beams, pick
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import LengthRule, as_rule
from captioning.search.log_probs import check_memory, next_log_probs
from captioning.search.processors import Processor, never
from captioning.text.tokenizer import SpecialTokens

STRONGEST = 1000.0
"""The largest λ."""


@dataclass(frozen=True, kw_only=True)
class DiverseBeamSearch(Search):
    """Divides the beams into groups, which extend their prefixes in turn and avoid the words of the groups before them.

    Source: Vijayakumar et al. 2016 (arXiv:1610.02424), algorithm 1 with Hamming diversity:

        Θ(y) ← Θ(y) - λ · (how many prefixes of the groups before this one took the word y in this step)

    Each group is a beam search of K / G beams that orders its prefixes by Θ. The penalties of a prefix add up. `<eos>`
    has no penalty, so captions of several groups can end in one step. With one group, the result is that of
    `BeamSearch`. Θ only chooses prefixes: hypotheses are ordered by their own log-probabilities, and these are the
    returned scores.

    A caption that several groups find counts for the first of them. The n captions are the best of each group, then the
    second best of each, and so on; they are returned in the order of their ranks. Unfinished hypotheses are chosen
    last. If the captions of a group were all found by earlier ones, there can be fewer than n; the rest have length 0
    and a score of -inf. An image leaves the batch as soon as no prefix of any group can displace one of its group's
    best.

    Args:
        beam_size: K, the beams of all groups together; at most 1,024.
        num_groups: G, a divisor of K.
        diversity: λ, in 0..1000. The paper's experiments have 0.2 to 0.8.
        num_best: n, at most K.
        length_normalization: see `BeamSearch`.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, or the search does not fit in memory.
    """

    beam_size: int = 6
    num_groups: int = 3
    diversity: float = 0.5
    max_length: int = 30
    num_best: int = 1
    length_normalization: float | LengthRule = 0.0
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beams(self.beam_size, self.num_best)
        if self.num_groups < 1 or self.beam_size % self.num_groups:
            raise InputError(f"num_groups={self.num_groups} must divide beam_size={self.beam_size}")
        if not 0 <= self.diversity <= STRONGEST:  # NaN too
            raise InputError(f"diversity={self.diversity} must be in 0..{STRONGEST:g}")
        as_rule(self.length_normalization)

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_best`."""
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        rule, num_groups, width = as_rule(self.length_normalization), self.num_groups, self.beam_size // self.num_groups
        num_images, device = len(features), features.pooled.device
        check_memory(num_images, self.beam_size, decoder.vocab_size, device, setting="beam_size")
        of_each = -(-self.num_best // num_groups)
        best = [Best(num_images, of_each, self.max_length, special.pad, device) for _ in range(num_groups)]
        images = torch.arange(num_images, device=device)  # (i,) the images that are still searched
        groups = [_Group(Beams.empty(num_images, device), torch.zeros(num_images, 1, device=device))] * num_groups
        state = decoder.start(features).rows(images.repeat(num_groups))  # the rows of a group are adjacent
        last = torch.full((num_images * num_groups,), special.bos, device=device)
        for t in range(self.max_length):
            logits, state = decoder.step(last, state)
            tokens = torch.cat([group.beams.tokens.flatten(0, 1) for group in groups])
            log_probs = next_log_probs(logits, processors, t, tokens, images.repeat(num_groups)).chunk(num_groups)
            taken = torch.zeros(len(images), decoder.vocab_size, device=device)  # how often by the groups so far
            ended, rows, grown_groups = list[Tensor](), list[Tensor](), list[_Group]()
            for g, (group, own) in enumerate(zip(groups, log_probs, strict=True)):
                grown, source = group.grow(own, self.diversity * taken, width)
                ends = grown.beams.tokens[:, :, -1] == special.eos
                candidates = grown.beams.tokens[:, :width]
                ranks = rule.rank(grown.log_probs, t + 1).masked_fill(~ends, -torch.inf)[:, :width]
                for other in ended:
                    same = (candidates[:, :, None] == other[:, None]).all(3).any(2)
                    ranks = ranks.masked_fill(same, -torch.inf)
                best[g].add(images, grown.beams, ranks, finished=True)
                ended.append(candidates.masked_fill((ranks == -torch.inf)[..., None], special.pad))

                scores, alive = grown.beams.scores.masked_fill(ends, -torch.inf).topk(min(width, ends.shape[1]), dim=1)
                grown_groups.append(grown.pick(alive, scores))
                rows.append(source.gather(1, alive) + g * len(own))
                taken.scatter_add_(1, grown_groups[g].beams.tokens[:, :, -1], (scores > -torch.inf).float())
            groups = grown_groups
            if t + 1 == self.max_length:
                self._fill(best, images, groups)
                break
            running = torch.zeros(len(images), dtype=torch.bool, device=device)
            for own_best, group in zip(best, groups, strict=True):
                bound = rule.bound(group.log_probs.amax(1), t + 1, self.max_length)
                running |= own_best.ranks[images, -1] < bound
            index = running.nonzero()[:, 0]
            if not len(index):
                break
            if len(index) < len(images):
                images, groups, rows = images[index], [g.images(index) for g in groups], [r[index] for r in rows]
            state = state.rows(torch.cat([r.flatten() for r in rows]))
            last = torch.cat([group.beams.tokens[:, :, -1].flatten() for group in groups])
        return self._joined(best, t + 1)

    def _fill(self, best: Sequence[Best], images: Tensor, groups: Sequence[_Group]) -> None:
        """Add the groups' unfinished prefixes, each once."""
        before = list[Tensor]()
        for own_best, group in zip(best, groups, strict=True):
            tokens, log_probs = group.beams.tokens, group.log_probs
            for other in before:
                same = (tokens[:, :, None] == other[:, None]).all(3).any(2)
                log_probs = log_probs.masked_fill(same, -torch.inf)
            before.append(tokens)
            scores, order = log_probs.sort(dim=1, descending=True, stable=True)
            own_best.fill(images, group.beams.pick(order, scores))

    def _joined(self, best: Sequence[Best], steps: int) -> Hypotheses:
        """Choose the n best of the groups' hypotheses: first those that are the first of their group, and so on."""
        found = [own.hypotheses(steps) for own in best]
        all_ = {name: torch.cat([getattr(h, name) for h in found], 1) for name in vars(found[0])}
        rule, finished = as_rule(self.length_normalization), all_["finished"]
        ranks = torch.where(finished, rule.rank(all_["scores"], all_["lengths"].clamp(min=1)), all_["scores"])
        num_each = found[0].scores.shape[1]
        place = torch.arange(num_each, device=ranks.device).repeat(len(found)).expand_as(ranks)  # in its own group
        place = place + num_each * (~finished).int() + num_each * (all_["scores"] == -torch.inf).int()

        def by(key: Tensor, order: Tensor) -> Tensor:
            return order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))

        in_order = (-ranks).argsort(dim=1, stable=True)
        chosen = by(place, in_order)[:, : self.num_best]
        chosen = by((~finished).byte(), by(-ranks, chosen))
        return Hypotheses(**{name: pick(value, chosen) for name, value in all_.items()})


@dataclass(frozen=True)
class _Group:
    """The prefixes of one group of i images.

    Attributes:
        beams: the prefixes. Their `scores` are Θ, their `token_scores` the decoder's own.
        log_probs: (i, k), the sum of the tokens' log-probabilities.
    """

    beams: Beams
    log_probs: Tensor

    def grow(self, log_probs: Tensor, penalties: Tensor, beam_size: int) -> tuple[_Group, Tensor]:
        """See `Beams.grow`; `penalties`, (i, V), are subtracted in Θ."""
        width = self.log_probs.shape[1]
        augmented = log_probs - penalties.repeat_interleave(width, 0)
        beams, source = self.beams.grow(augmented, beam_size)
        own = log_probs[source, beams.tokens[:, :, -1]]
        token_scores = torch.cat([beams.token_scores[:, :, :-1], own[..., None]], 2)
        return _Group(replace(beams, token_scores=token_scores), self.log_probs.flatten()[source] + own), source

    def pick(self, index: Tensor, scores: Tensor) -> _Group:
        """See `Beams.pick`."""
        return _Group(
            self.beams.pick(index, scores),
            self.log_probs.gather(1, index).masked_fill(scores == -torch.inf, -torch.inf),
        )

    def images(self, index: Tensor) -> _Group:
        """Pick the images `index`."""
        return _Group(self.beams.images(index), self.log_probs[index])
