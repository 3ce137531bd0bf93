"""Everything that a beam search considered for one image, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import BeamSearch
from captioning.search.hypotheses import Hypotheses
from captioning.search.processors import Forbid, Processor
from captioning.text.tokenizer import SpecialTokens

Prefix = tuple[int, ...]


class Outcome(StrEnum):
    """What became of a prefix that the search considered."""

    CONTINUED = "continued"
    """It was one of the K best of its step, and the decoder read it."""
    HYPOTHESIS = "hypothesis"
    """It is one of the n best hypotheses."""
    OUTRANKED = "outranked"
    """It ended among the K best of its step, but n other hypotheses have a better rank."""
    PRUNED = "pruned"
    """It was not one of the K best of its step."""
    STOPPED = "stopped"
    """It was one of the K best of the last step. The search ended, because no prefix could displace a hypothesis."""
    TOO_LONG = "too long"
    """It reached the maximum length without an end."""
    FORBIDDEN = "forbidden"
    """A processor forbade its last token. It would have been one of the K best of its step."""


@dataclass(frozen=True)
class Candidate:
    """A prefix that the search considered.

    Attributes:
        tokens: without `<bos>`; the last is `<eos>` where the caption ended.
        log_prob: the sum of the tokens' log-probabilities, in nats, as the search computed it. If the last token is
            forbidden, with the log-probability that it had before.
        outcome: what became of it.
        forbidden_by: the name of the processor that forbade the last token.
    """

    tokens: Prefix
    log_prob: float
    outcome: Outcome
    forbidden_by: str | None = None


@dataclass(frozen=True)
class BeamRecord:
    """A beam search for one image.

    Attributes:
        found: the result of the search.
        candidates: of each step, its 2K best continuations and the forbidden ones, from the most probable to the least.
    """

    found: Hypotheses
    candidates: tuple[Candidate, ...]


def record(search: BeamSearch, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> BeamRecord:
    """Search for one image, and record what the search considered.

    The search is run once, as it is. A processor at its end reads what the search reads, so recording changes no
    result. Impossible continuations, of log-probability -inf, are not recorded.

    Args:
        search: the search.
        decoder: in eval mode.
        features: of one image.
        special: the special tokens' ids.

    Raises:
        InputError: `features` are not those of exactly one image.
    """
    if len(features) != 1:
        raise InputError(f"a beam search is recorded for one image; found features of {len(features)} images")
    watch = _Watch(search, special)
    found = replace(search, allow_unknown=True, processors=[watch])(decoder, features, special)
    return BeamRecord(found, tuple(_judged(watch.steps, search, set(hypotheses(found)), special.eos)))


def hypotheses(found: Hypotheses) -> list[Prefix]:
    """Return the first image's hypotheses, best first, without padding."""
    return [
        tuple(tokens[:length])
        for tokens, length in zip(found.tokens[0].tolist(), found.lengths[0].tolist(), strict=True)
        if length
    ]


@dataclass(frozen=True)
class _Step:
    """The prefixes that a step read, and the possible ones among their 2K best continuations, best first."""

    read: frozenset[Prefix]
    grown: dict[Prefix, float]
    forbidden: dict[Prefix, tuple[float, str]]


class _Watch(Processor):
    """Applies a search's processors in order, and records each step.

    The search itself is run with `allow_unknown`, and the processor that forbids `<unk>` is applied here, so that this
    is recorded too.
    """

    def __init__(self, search: BeamSearch, special: SpecialTokens) -> None:
        self.beam_size, self.eos = search.beam_size, special.eos
        self.named = [
            ("allow_unknown=False", Forbid([] if search.allow_unknown else [special.unk])),
            *((type(processor).__name__, processor) for processor in search.processors),
        ]
        self.scores: dict[Prefix, Tensor] = {}
        self.steps: list[_Step] = []

    def __call__(self, step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        prefixes = [tuple(own) for own in tokens.tolist()]
        if not step:
            self.scores = {(): log_probs.new_zeros(())}
        # If an image has fewer than K prefixes, ended and impossible ones fill the beam. They have no score here.
        rows = [row for row, prefix in enumerate(prefixes) if prefix in self.scores]
        scores = torch.stack([self.scores[prefixes[row]] for row in rows])
        read = [prefixes[row] for row in rows]
        before: list[tuple[str, Tensor]] = []
        for name, processor in self.named:
            changed = processor(step, tokens, log_probs)
            before.append((name, log_probs[rows].masked_fill(changed[rows] > -torch.inf, -torch.inf)))
            log_probs = changed

        grown = self._best(read, scores, log_probs[rows], 2 * self.beam_size)
        worst = list(grown.values())[self.beam_size - 1] if len(grown) >= self.beam_size else -torch.inf
        forbidden = {
            prefix: (score.item(), name)
            for name, lost in before
            for prefix, score in self._best(read, scores, lost, self.beam_size).items()
            if score > worst
        }
        self.steps.append(_Step(frozenset(read), {p: score.item() for p, score in grown.items()}, forbidden))
        self.scores = {prefix: score for prefix, score in grown.items() if prefix[-1] != self.eos}
        return log_probs

    def _best(self, prefixes: Sequence[Prefix], scores: Tensor, log_probs: Tensor, count: int) -> dict[Prefix, Tensor]:
        """Return the `count` best continuations by one token and their scores, with the search's own arithmetic."""
        values, words = log_probs.topk(min(count, log_probs.shape[1]), dim=1)
        totals, chosen = (scores[:, None] + values).flatten().topk(min(count, values.numel()))
        return {
            (*prefixes[at // words.shape[1]], int(words.flatten()[at])): total
            for at, total in zip(chosen.tolist(), totals, strict=True)
            if total > -torch.inf
        }


def _judged(steps: Sequence[_Step], search: BeamSearch, best: set[Prefix], eos: int) -> Iterator[Candidate]:
    """Say of each continuation what became of it."""
    for t, step in enumerate(steps):
        following = steps[t + 1].read if t + 1 < len(steps) else None
        unfinished = [prefix for prefix in step.grown if prefix[-1] != eos][: search.beam_size]
        alive = frozenset(unfinished) if following is None else following
        at_end = Outcome.TOO_LONG if t + 1 == search.max_length else Outcome.STOPPED
        kept = at_end if following is None else Outcome.CONTINUED
        candidates = [
            Candidate(prefix, score, forbidden_by=name, outcome=Outcome.FORBIDDEN)
            for prefix, (score, name) in step.forbidden.items()
        ]
        for rank, (prefix, score) in enumerate(step.grown.items()):
            if prefix in best:
                outcome = Outcome.HYPOTHESIS
            elif prefix[-1] == eos:
                outcome = Outcome.OUTRANKED if rank < search.beam_size else Outcome.PRUNED
            else:
                outcome = kept if prefix in alive else Outcome.PRUNED
            candidates.append(Candidate(prefix, score, outcome))
        yield from sorted(candidates, key=lambda candidate: -candidate.log_prob)
