"""Constrained beam search: the best captions that have all required words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import Best, check_beams
from captioning.search.beams import Beams
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import LengthRule, as_rule
from captioning.search.log_probs import check_memory, next_log_probs
from captioning.search.machine import Machine, Required, as_required, machine_of
from captioning.search.processors import Processor, never
from captioning.text.tokenizer import SpecialTokens, Tokenizer


@dataclass(frozen=True, kw_only=True)
class ConstrainedBeamSearch(Search):
    """Finds captions that have all required words, each in one of its alternatives.

    Source: Anderson et al. 2016 (arXiv:1612.00576), section 3.1 and algorithm 1. A finite-state machine reads the
    prefixes: its state is the set of required words that a prefix has. Each state has a beam of its own, so prefixes
    with a required word do not compete with the more probable prefixes without it. Only prefixes with all required
    words can end. The machine also has a state for each beginning of a phrase of several tokens. The words can come in
    any order, may overlap, and may be repeated.

    A step finds the K best continuations that lead to each state. Apart from this, the search is `BeamSearch`: without
    required words it gives the same captions.

    Every hypothesis has all required words. If an image has fewer than n such captions of `max_length` tokens, for
    example because a processor forbids a required word, the rest are no hypotheses: their length is 0 and their score
    -inf, and the caption is empty.

    Args:
        required: for each required word its alternatives, each as the ids of its tokens. At most 8 words.
            `required_words` makes it from text.
        beam_size: K of each state, at most 1,024. There are 2^n beams for n required words, and more for phrases.
        num_best: n, at most K.
        length_normalization: see `BeamSearch`.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, the required words do not fit into `max_length` tokens with `<eos>`, or
            one of their tokens is a special token or outside the vocabulary. Or the search does not fit in memory.
    """

    required: Sequence[Sequence[Sequence[int]]] = ()
    beam_size: int = 5
    max_length: int = 30
    num_best: int = 1
    length_normalization: float | LengthRule = 0.0
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "required", as_required(self.required))
        check_beams(self.beam_size, self.num_best)
        as_rule(self.length_normalization)
        if (least := self._machine.shortest + 1) > self.max_length:
            raise InputError(
                f"the {len(self.required)} required words take at least {least} tokens with <eos>, but "
                f"max_length={self.max_length}; require fewer words, or increase max_length"
            )

    @property
    def _machine(self) -> Machine:
        return machine_of(as_required(self.required))

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_best`."""
        processors = (never(special, allow_unknown=self.allow_unknown), *self.processors)
        rule, machine = as_rule(self.length_normalization), self._machine
        self._check_tokens(machine, decoder.vocab_size, special)
        num_images, device = len(features), features.pooled.device
        per_image = self.beam_size * len(machine.following)
        check_memory(num_images, per_image, decoder.vocab_size, device, setting="beam_size")
        words, following = machine.to(device)
        best = Best(num_images, self.num_best, self.max_length, special.pad, device)
        every_image = torch.arange(num_images, device=device)
        rows = _Rows.start(num_images, device)
        state, last = decoder.start(features), torch.full((num_images,), special.bos, device=device)
        for t in range(self.max_length):
            logits, state = decoder.step(last, state)
            log_probs = next_log_probs(logits, processors, t, rows.tokens, rows.image)
            too_early = torch.where(rows.state == machine.accepting, -1, special.eos)
            grown, source = rows.grow(log_probs, words, following, self.beam_size, forbidden=too_early)
            ends = grown.tokens[:, -1] == special.eos
            place = grown.places()
            ended = (ends & (place < self.beam_size)).nonzero()[:, 0]
            beams = grown.pick(ended).beams(place[ended], num_images, self.beam_size)
            best.add(every_image, beams, rule.rank(beams.scores, t + 1), finished=True)

            open_ = (~ends).nonzero()[:, 0]
            rows, source = grown.pick(open_), source[open_]
            alive = (rows.places() < self.beam_size).nonzero()[:, 0]
            rows, source = rows.pick(alive), source[alive]
            if t + 1 == self.max_length:
                rows = rows.pick((rows.state == machine.accepting).nonzero()[:, 0])
                best.fill(every_image, rows.beams(rows.places(), num_images, self.beam_size))
                break
            most_probable = torch.full((num_images,), -torch.inf, device=device)
            most_probable = most_probable.scatter_reduce(0, rows.image, rows.scores, "amax")
            running = best.ranks[:, -1] < rule.bound(most_probable, t + 1, self.max_length)
            kept = running[rows.image].nonzero()[:, 0]
            if not len(kept):
                break
            rows, state = rows.pick(kept), state.rows(source[kept])
            last = rows.tokens[:, -1]
        return best.hypotheses(t + 1)

    def _check_tokens(self, machine: Machine, vocab_size: int, special: SpecialTokens) -> None:
        never_said = {special.pad, special.bos, special.eos} | (set() if self.allow_unknown else {special.unk})
        if wrong := [i for i in machine.tokens if i in never_said or not 0 <= i < vocab_size]:
            raise InputError(
                f"required names the token {wrong[0]}, which no caption contains: expected ids below {vocab_size:,} of "
                "other than special tokens"
            )


@dataclass(frozen=True)
class _Rows:
    """The prefixes of all images and states, r in all, ordered by image, then state, then from the most probable on.

    Attributes:
        image: (r) int64.
        state: (r) int64, of the machine.
        tokens: (r, t) int64.
        token_scores: (r, t).
        scores: (r).
    """

    image: Tensor
    state: Tensor
    tokens: Tensor
    token_scores: Tensor
    scores: Tensor

    @classmethod
    def start(cls, num_images: int, device: torch.device) -> _Rows:
        """Return one empty prefix for each image."""
        return cls(
            image=torch.arange(num_images, device=device),
            state=torch.zeros(num_images, dtype=torch.int64, device=device),
            tokens=torch.zeros(num_images, 0, dtype=torch.int64, device=device),
            token_scores=torch.zeros(num_images, 0, device=device),
            scores=torch.zeros(num_images, device=device),
        )

    def grow(
        self, log_probs: Tensor, words: Tensor, following: Tensor, beam_size: int, *, forbidden: Tensor
    ) -> tuple[_Rows, Tensor]:
        """Continue each prefix by its K + 1 best tokens and by all tokens of required words.

        Args:
            log_probs: of the next token, (r, V).
            words: see `Machine.tokens`.
            following: see `Machine.following`.
            beam_size: K.
            forbidden: a token that each row is not continued by, (r); -1 for none.

        Returns:
            All possible continuations, in order, and the row that each continues.
        """
        # K + 1, since one of them may be forbidden, or `<eos>`.
        others = log_probs.index_fill(1, words, -torch.inf)
        best, tokens = others.topk(min(beam_size + 1, others.shape[1]), dim=1)
        best = best.masked_fill(tokens == forbidden[:, None], -torch.inf)
        step_scores = torch.cat([best, log_probs[:, words]], 1)
        tokens = torch.cat([tokens, words.expand(len(tokens), -1)], 1)
        states = torch.cat([following[self.state, :1].expand(best.shape), following[self.state, 1:]], 1)
        scores = self.scores[:, None] + step_scores
        # Sort by score, then by state, then by image; the last two sorts keep the order of the sorts before.
        index = (scores > -torch.inf).flatten().nonzero()[:, 0]
        index = index[scores.flatten()[index].argsort(descending=True, stable=True)]
        group = self.image.repeat_interleave(scores.shape[1])[index] * len(following) + states.flatten()[index]
        index = index[group.argsort(stable=True)]
        source = index // scores.shape[1]
        grown = _Rows(
            self.image[source],
            states.flatten()[index],
            torch.cat([self.tokens[source], tokens.flatten()[index, None]], 1),
            torch.cat([self.token_scores[source], step_scores.flatten()[index, None]], 1),
            scores.flatten()[index],
        )
        return grown, source

    def places(self) -> Tensor:
        """Return the place of each prefix among those of its image and state, (r), from 0."""
        group = torch.stack([self.image, self.state], 1)
        counts = torch.unique_consecutive(group, dim=0, return_counts=True)[1] if len(group) else self.image
        starts = counts.cumsum(0) - counts
        return torch.arange(len(group), device=group.device) - starts.repeat_interleave(counts)

    def pick(self, index: Tensor) -> _Rows:
        """Pick rows."""
        return _Rows(
            self.image[index], self.state[index], self.tokens[index], self.token_scores[index], self.scores[index]
        )

    def beams(self, place: Tensor, num_images: int, width: int) -> Beams:
        """Return the rows, all of one state, by image: row r is in column `place[r]`; the others score -inf."""
        shape, at = (num_images, width), (self.image, place)
        length = self.tokens.shape[1]
        return Beams(
            self.tokens.new_zeros(*shape, length).index_put(at, self.tokens),
            self.token_scores.new_zeros(*shape, length).index_put(at, self.token_scores),
            self.scores.new_full(shape, -torch.inf).index_put(at, self.scores),
        )


def required_words(words: Sequence[str | Sequence[str]], tokenizer: Tokenizer) -> Required:
    """Tokenize required words for `ConstrainedBeamSearch`.

    A token does not always show where a word ends. With `text=characters` and `byte_bpe`, "cat" is also found in
    "cattle", and with `bpe`, a word of one token is also found at the end of a longer word.

    Args:
        words: each a word or a phrase, or a list of alternatives: ["red", ["dog", "dogs", "a puppy"]].
        tokenizer: of the captioner.

    Raises:
        InputError: the vocabulary lacks a word, or a word is empty.
    """
    required = list[tuple[tuple[int, ...], ...]]()
    for word in words:
        phrases = list[tuple[int, ...]]()
        for text in [word] if isinstance(word, str) else word:
            # Byte-level tokens of a word include the space before it, unless it is the first one.
            encoded = {tuple(ids[1:-1]): None for ids in tokenizer.encode([text, f" {text}"])}
            if any(not ids or tokenizer.special.unk in ids for ids in encoded):
                raise InputError(f"required word {text[:80]!r}: the vocabulary lacks it; give another word for it")
            phrases += encoded
        required.append(tuple(phrases))
    return as_required(required)
