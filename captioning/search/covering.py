"""Beam search for sentences that mention the words that a detector found in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.decoders.concepts import Concepts
from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import WIDEST
from captioning.search.beams import Beams, pick
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Processor, apply, never
from captioning.search.vocabulary import log_probabilities
from captioning.text.tokenizer import SpecialTokens

MOST, MOST_WORDS = 10_000, 100
"""The largest `num_best` and `num_words`."""


@dataclass(frozen=True, kw_only=True)
class CoveringSearch(Search):
    """Finds the M most probable sentences that mention at least T of an image's detected words.

    Source: Fang et al. 2015 (arXiv:1411.4952), section 4, as remembered; not checked against the paper's text. Each
    step extends the K best prefixes of an image. Those of the K best continuations that end with `<eos>` are the
    candidates, and the K best of the others are continued. After the last step, the candidates that mention at least T
    different detected words form the list. If there are fewer than M, T is lowered by one until the list is full; the M
    most probable are returned.

    A detected word is mentioned once. The most frequent words of the vocabulary can be repeated, although a detector
    may know them too: "a dog and a cat". Word tokenizers number words by frequency, so these are the words of the
    lowest ids. Any decoder can be searched.

    An image leaves the batch as soon as its list is full with T as given and no prefix can displace one of its
    sentences. This stop is exact, because a prefix's log-probability only falls. If an image has fewer than M
    candidates, prefixes that reach `max_length` follow them as unfinished hypotheses.

    Differs: a prefix is continued by any word of the vocabulary. The paper's prefixes are continued only by `<eos>`, by
    the 100 most frequent words, by the detected words, and by words that follow the last one in the training captions.

    Args:
        concepts: the token id of each of the detector's W words, in its order; -1 for a word that the vocabulary lacks.
        threshold: the probability from which a word counts as detected.
        beam_size: K, at most 1,024.
        num_best: M, at most 10,000.
        num_words: T, at most 100.
        num_common: how many of the most frequent words can be repeated.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, or a concept occurs twice or is outside the decoder's vocabulary. Or the
            features lack the probabilities of the W words, or there are no concepts.
    """

    concepts: Sequence[int] = ()
    threshold: float = 0.5
    beam_size: int = 200
    num_best: int = 500
    num_words: int = 10
    num_common: int = 100
    max_length: int = 30
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "concepts", tuple(self.concepts))
        Concepts(self.concepts, self.threshold)
        for name, low, high in (
            ("beam_size", 1, WIDEST),
            ("num_best", 1, MOST),
            ("num_words", 0, MOST_WORDS),
            ("num_common", 0, None),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                expected = f"at least {low}" if high is None else f"in {low}..{high}"
                raise InputError(f"{name}={value} must be {expected}")

    def settings(self) -> dict[str, Any]:
        """Return the settings, without the concepts, which belong to the model."""
        return {name: value for name, value in super().settings().items() if name != "concepts"}

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_best`."""
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        num_images, device = len(features), features.pooled.device
        detected = self._detected(decoder, features, special)
        found = _Candidates(self, detected.mask.sum(1), special.pad)
        images = torch.arange(num_images, device=device)  # (i,) the images that are still searched
        beams = Beams.empty(num_images, device)
        mentioned = detected.mask.new_zeros(num_images, 1, detected.mask.shape[1])  # (i, k, D) by each prefix
        state, last = decoder.start(features), torch.full((num_images,), special.bos, device=device)
        for t in range(self.max_length):
            logits, state = decoder.step(last, state)
            log_probs = apply(processors, t, beams.tokens.flatten(0, 1), log_probabilities(logits))
            grown, source = beams.grow(detected.without(log_probs, mentioned), self.beam_size)
            mentioned = mentioned.flatten(0, 1)[source] | detected.equal(grown.tokens[:, :, -1])
            ends = grown.tokens[:, :, -1] == special.eos
            scores = grown.scores.masked_fill(~ends, -torch.inf)[:, : self.beam_size]
            found.add(images, grown, scores, mentioned.sum(2)[:, : self.beam_size])

            scores, alive = grown.scores.masked_fill(ends, -torch.inf).topk(min(self.beam_size, ends.shape[1]), dim=1)
            beams, source, mentioned = grown.pick(alive, scores), source.gather(1, alive), pick(mentioned, alive)
            if t + 1 == self.max_length:
                found.add(images, beams, beams.scores, torch.full_like(beams.tokens[:, :, 0], _UNFINISHED))
                break
            running = (found.worst()[images] < beams.scores[:, 0]).nonzero()[:, 0]
            if not len(running):
                break
            if len(running) < len(images):
                images, beams, source = images[running], beams.images(running), source[running]
                detected, mentioned = detected.images(running), mentioned[running]
            state, last = state.rows(source.flatten()), beams.tokens[:, :, -1].flatten()
        return found.hypotheses(t + 1)

    def _detected(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> _Detected:
        if not self.concepts:
            raise InputError("covering search needs the words of a detector; give search.concepts, or use search=beam")
        concepts = Concepts(self.concepts, self.threshold)
        concepts.check(decoder.vocab_size)
        words, log_scores = concepts.detected(features)
        never_said = {special.pad, special.bos, special.eos, special.unk}
        by_frequency = [i for i in range(decoder.vocab_size) if i not in never_said]
        common = torch.tensor(by_frequency[: self.num_common], dtype=torch.int64, device=words.device)
        mask = log_scores > -torch.inf
        return _Detected(words, mask, once=mask & ~torch.isin(words, common), pad=special.pad)


@dataclass(frozen=True)
class _Detected:
    """The detected words of the i images that are still searched."""

    words: Tensor  # (i, D) int64
    mask: Tensor  # (i, D) bool, False where an image has fewer than D words
    once: Tensor  # (i, D) bool, the words that cannot be repeated
    pad: int

    def equal(self, tokens: Tensor) -> Tensor:
        """Compare tokens, (i, k), with the detected words, (i, k, D)."""
        return (tokens[..., None] == self.words[:, None]) & self.mask[:, None]

    def without(self, log_probs: Tensor, mentioned: Tensor) -> Tensor:
        """Forbid the words that were mentioned and cannot be repeated, in log-probabilities (i·k, V)."""
        forbidden = mentioned & self.once[:, None]  # (i, k, D)
        words = self.words[:, None].expand_as(forbidden).masked_fill(~forbidden, self.pad)  # `<pad>` is forbidden too
        return log_probs.scatter(1, words.flatten(0, 1), -torch.inf)

    def images(self, index: Tensor) -> _Detected:
        """Pick the images `index`."""
        return _Detected(self.words[index], self.mask[index], self.once[index], self.pad)


_NONE, _UNFINISHED = -2, -1


class _Candidates:
    """The sentences of I images that may be in the list of the M best.

    A sentence's level is the number of detected words that it mentions, at most T; -1 for unfinished ones, and -2 where
    there is no sentence. The list's level is the largest one that M sentences reach. It can only rise. So all sentences
    of higher levels and the M best of this level are kept, at most 2M.

    Args:
        search: the settings.
        num_detected: the number of detected words of each image, (I) int64. T is no larger.
        pad: the id of `<pad>`.
    """

    def __init__(self, search: CoveringSearch, num_detected: Tensor, pad: int) -> None:
        shape, device = (len(num_detected), 2 * search.num_best), num_detected.device
        self.num_words, self.num_best, self.pad = search.num_words, search.num_best, pad
        self.most = num_detected.clamp(max=search.num_words)
        self.tokens = torch.full((*shape, search.max_length), pad, device=device)
        self.token_scores = torch.zeros(*shape, search.max_length, device=device)
        self.lengths = torch.zeros(shape, dtype=torch.int64, device=device)
        self.scores = torch.full(shape, -torch.inf, device=device)
        self.levels = torch.full(shape, _NONE, device=device)

    def add(self, images: Tensor, beams: Beams, scores: Tensor, levels: Tensor) -> None:
        """Add sentences, and keep those that may be in the list.

        Args:
            images: (i,) the images of `beams`.
            beams: the first c of each image are candidates.
            scores: (i, c), the candidates' log-probabilities; -inf for those that are no sentences.
            levels: (i, c) int64.
        """
        touched = (scores > -torch.inf).any(1).nonzero()[:, 0]
        if not len(touched):
            return
        at, (count, length) = images[touched], (scores.shape[1], beams.tokens.shape[2])
        scores, room = scores[touched], (0, self.tokens.shape[2] - length)
        levels = torch.minimum(levels[touched], self.most[at, None]).masked_fill(scores == -torch.inf, _NONE)
        levels, scores = torch.cat([self.levels[at], levels], 1), torch.cat([self.scores[at], scores], 1)
        level = self._level(levels)[:, None]
        keys = scores.masked_fill(levels < level, -torch.inf).masked_fill(levels > level, torch.inf)
        order = keys.topk(2 * self.num_best, dim=1).indices
        self.levels[at], self.scores[at] = pick(levels, order), pick(scores, order)
        tokens = F.pad(beams.tokens[touched, :count], room, value=self.pad)
        token_scores = F.pad(beams.token_scores[touched, :count], room)
        lengths = torch.full_like(tokens[..., 0], length)
        for kept, new in ((self.tokens, tokens), (self.token_scores, token_scores), (self.lengths, lengths)):
            kept[at] = pick(torch.cat([kept[at], new], 1), order)

    def _level(self, levels: Tensor) -> Tensor:
        """Return the largest level that M sentences reach, (i); -1 if there are fewer than M."""
        steps = torch.arange(self.num_words + 1, device=levels.device)
        reached = (levels[..., None] >= steps).sum(1) >= self.num_best  # (i, T + 1)
        return reached.sum(1) + _UNFINISHED

    def worst(self) -> Tensor:
        """Return the score that a new sentence must exceed to enter the list, (I); -inf if T was lowered so far."""
        full = (self._level(self.levels) == self.most)[:, None]
        return self.scores.masked_fill(~(full & self._listed()), -torch.inf).topk(self.num_best, dim=1).values[:, -1]

    def _listed(self) -> Tensor:
        return (self.levels >= self._level(self.levels)[:, None]) & (self.scores > -torch.inf)

    def hypotheses(self, steps: int) -> Hypotheses:
        """Return the lists that were found in `steps` steps."""
        listed = self._listed()
        order = self.scores.masked_fill(~listed, -torch.inf).argsort(dim=1, descending=True, stable=True)
        ended = (listed & (self.levels > _UNFINISHED)).gather(1, order).byte()
        order = order.gather(1, ended.argsort(dim=1, descending=True, stable=True))[:, : self.num_best]
        none, token_scores = ~pick(listed, order), pick(self.token_scores, order)
        return Hypotheses(
            tokens=pick(self.tokens, order)[:, :, :steps].masked_fill(none[..., None], self.pad),
            lengths=pick(self.lengths, order).masked_fill(none, 0),
            scores=token_scores.sum(2).masked_fill(none, -torch.inf),
            token_scores=token_scores[:, :, :steps].masked_fill(none[..., None], 0.0),
            finished=~none & (pick(self.levels, order) > _UNFINISHED),
        )
