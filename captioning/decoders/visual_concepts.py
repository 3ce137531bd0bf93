"""Visual concepts: a maximum-entropy language model that mentions the words detected in an image.

From Captions to Visual Concepts and Back. Fang, Gupta, Iandola, Srivastava, Deng, Dollár, Gao, He, Mitchell, Platt,
Zitnick, Zweig. CVPR 2015. arXiv:1411.4952, section 4.

    p(w_l = w | w_1 .. w_{l-1}, Ṽ_{l-1}) = exp s(w) / Σ_w' exp s(w'),   w' over the vocabulary and `<eos>`         (1)
    s(w) = Σ_k λ_k f_k(w, w_{l-1} .. w_1, Ṽ_{l-1})                                                                 (2)

Ṽ_0 are the words that a detector finds in the image. A word leaves Ṽ when it is mentioned. The features f_k are

    attribute    1 if w ∈ Ṽ                                                           weight a
    n-gram+      1 if the last n tokens, w included, are κ and w ∈ Ṽ                  weight λ+_κ
    n-gram-      1 if the last n tokens, w included, are κ and w ∉ Ṽ                  weight λ-_κ
    end          1 if w = κ and Ṽ is empty: all detected words have been mentioned    weight e_κ
    score        the logarithm of the detector's probability of w if w ∈ Ṽ            weight b

for n = 1 .. N. With s_κ = Σ_n, over the n-grams that end with w,

    s(w) = (a + b log p_w + Σ_n λ+_κ) [w ∈ Ṽ] + Σ_n λ-_κ [w ∉ Ṽ] + e_w [Ṽ = ∅]                                     (3)

    symbol      here                        shape
    a, b        attribute, score            scalars
    e           end                         (V)
    λ+, λ-      plus, minus for n = 1       (V) each
                ngrams for n = 2 .. N       one weight for each n-gram that the training captions contain

The features and N = 4 are as remembered and as summaries describe them; they were not checked against the paper's text.
Without concepts this is an n-gram language model that never sees an image: the baseline.
Differs: (1) is trained exactly, by the softmax over the vocabulary, as well as by noise-contrastive estimation. n-gram+
and n-gram- have a weight for every n-gram that the captions contain, whether or not its last word was detected there.
All weights are initialised to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.concepts import Concepts
from captioning.decoders.decoder import Decoder, State
from captioning.decoders.ngrams import NONE, Ngrams, check_order, context_code
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


@dataclass(frozen=True)
class ConceptState(State):
    """The last words, and the detected words that are still to be mentioned.

    Attributes:
        last: the last N - 1 tokens, the latest last, (B, N - 1) int64; -1 before the caption begins.
        words: detected words, (B, D) int64.
        log_scores: the logarithms of their probabilities, (B, D); -inf once a word is mentioned, and where an image
            has fewer than D words.
    """

    last: Tensor
    words: Tensor
    log_scores: Tensor

    def read(self, tokens: Tensor) -> ConceptState:
        """Read one token per row, (B) int64."""
        last = torch.cat([self.last, tokens[:, None]], 1)[:, 1:]
        mentioned = self.words == tokens[:, None]
        return ConceptState(last, self.words, self.log_scores.masked_fill(mentioned, -torch.inf))


class VisualConcepts(Decoder[ConceptState]):
    """A log-linear model of the next word, given the last words and the detected words that are still to be mentioned.

    Args:
        feature_size: F; not used.
        vocab_size: V.
        concepts: the token id of each of the detector's W words, in its order; -1 for a word that the vocabulary
            lacks. None at all for a language model without an image.
        num_ngrams: how many n-grams of 2, 3, .., N tokens the training captions contain.
        order: N, the length of the longest n-grams.
        threshold: the probability from which a word counts as detected.
        scores: whether the score feature is used.

    Attributes:
        concepts: the detector's words; `concepts.num_absent` counts those that the vocabulary lacks.

    Raises:
        InputError: `num_ngrams` has not N - 1 positive numbers, N is out of range, the threshold is not in (0, 1], or a
            concept occurs twice or is outside the vocabulary. Or the decoded features lack the W words' probabilities.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        concepts: Sequence[int],
        num_ngrams: Sequence[int],
        order: int = 4,
        threshold: float = 0.5,
        scores: bool = True,
    ) -> None:
        super().__init__()
        check_order(order, vocab_size)
        if len(num_ngrams) != order - 1 or min(num_ngrams, default=1) < 1:
            raise InputError(f"num_ngrams={list(num_ngrams)}: expected {order - 1} numbers above 0 for order={order}")
        self.vocab_size, self.order = vocab_size, order
        self.concepts = Concepts(concepts, threshold)
        self.concepts.check(vocab_size)
        self.attribute = nn.Parameter(torch.zeros(()))
        self.score = nn.Parameter(torch.zeros(())) if scores else None
        self.end = nn.Parameter(torch.zeros(vocab_size))
        self.plus, self.minus = nn.Parameter(torch.zeros(vocab_size)), nn.Parameter(torch.zeros(vocab_size))
        self.ngrams = nn.ModuleList(Ngrams(count, vocab_size) for count in num_ngrams)
        self.head = nn.Identity()

    def observe(self, ngrams: Sequence[Tensor]) -> None:
        """Set the n-grams that have weights, as `observed_ngrams` returns them for the training captions."""
        for own, codes in zip(self._ngrams(), ngrams, strict=True):
            own.observe(codes)

    def _ngrams(self) -> list[Ngrams]:
        return cast(list[Ngrams], list(self.ngrams))

    def start(self, features: ImageFeatures) -> ConceptState:
        """Find the detected words; one row per image."""
        words, log_scores = self.concepts.detected(features)
        return ConceptState(words.new_full((words.shape[0], self.order - 1), NONE), words, log_scores)

    def step(self, tokens: Tensor, state: ConceptState) -> tuple[Tensor, ConceptState]:
        """See `Decoder.step`."""
        state = state.read(tokens)
        return self._scores(state), state

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return s(w), (sum of lengths, V); `head` changes nothing."""
        rows = image_index if inputs.sorted_indices is None else image_index[inputs.sorted_indices]
        state, states = self.start(features).rows(rows), []
        for tokens in torch.split(inputs.data, inputs.batch_sizes.tolist()):
            state = state.first(len(tokens)).read(tokens)
            states.append(state)
        return self._scores(
            ConceptState(
                last=torch.cat([s.last for s in states]),
                words=torch.cat([s.words for s in states]),
                log_scores=torch.cat([s.log_scores for s in states]),
            )
        )

    def _scores(self, state: ConceptState) -> Tensor:
        """Compute s(w) by equation (3), (B, V)."""
        left = state.log_scores > -torch.inf
        scores = torch.stack([self.minus + self.end, self.minus]).index_select(0, left.any(1).long())
        difference = self.attribute + (self.plus - self.minus)[state.words]
        if self.score is not None:
            difference = difference + self.score * state.log_scores.masked_fill(~left, 0.0).to(self.score.dtype)
        found = []  # the rows, words and weights of the n-grams after each row's context
        for n, ngrams in enumerate(self._ngrams(), 2):
            contexts = context_code(state.last[:, self.order - n :], self.vocab_size)
            rows, words, places = ngrams.after(contexts)
            found.append((rows, words, ngrams.minus[places]))
            difference = difference + ngrams.difference(contexts, state.words)
        each = torch.arange(len(left), device=left.device)[:, None].expand_as(left)
        found.append((each.flatten(), state.words.flatten(), (difference * left).flatten()))  # in (3), λ+ replaces λ-
        rows, words, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
        return scores.index_put_((rows, words), weights, accumulate=True)
