"""Decoders that prefer words of this image to words of any image.

    p(w | I) ∝ P(w | I) / Q(w)^λ

Q(w) is P(w) of a language model without the image, or the mean of P(w | I_d) over D other images, the distractors.

Sources: the ratio to a language model is the maximum mutual information of Li et al. 2016 (arXiv:1510.03055, equation
9, with λ in [0, 1]). The ratio to a distractor image is the emitter-suppressor of Vedantam et al. 2017
(arXiv:1701.02870), whose exponent 1 - λ is λ here; it has one distractor, and beam search over its sums.
Differs: each step is normalised over the vocabulary. So a score is a log-probability of this distribution, at most 0,
and the early stop of beam search stays exact. It is not the log-probability that the captioner gives the caption; to
get that, score the caption with the captioner. The order of captions also differs from that of the sums of log P -
λ log Q, because each step subtracts the logarithm of its total.

A language model hardly expects any rare word, so a large λ prefers words that do not fit the image either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder, State
from captioning.decoders.distractors import Distractors
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

_LEAST = -1e4  # log Q of a word that Q excludes; a quotient by 0 has no value


@dataclass(frozen=True)
class ContrastState(State):
    """The state of the decoder, and those from which Q follows; each has one row for each caption."""

    own: State
    others: tuple[State, ...]


class AgainstLanguageModel(Decoder[ContrastState]):
    """Divides by the probability of the words without the image.

    Args:
        decoder: P(w | I).
        language_model: P(w): any decoder of the same vocabulary, such as a `LanguageModel`.
        strength: λ, at least 0.

    If the decoder reads objects, the attribute `categories` holds their categories.

    Raises:
        InputError: the sizes of the vocabularies differ, or `strength` is negative.
    """

    def __init__(self, decoder: Decoder[Any], language_model: Decoder[Any], *, strength: float) -> None:
        super().__init__()
        check_strength(strength)
        if decoder.vocab_size != language_model.vocab_size:
            raise InputError(
                f"the decoder has {decoder.vocab_size} tokens and the language model {language_model.vocab_size}; "
                "train both with the same text settings on the same captions"
            )
        self.decoder, self.language_model, self.strength = decoder, language_model, strength
        self.vocab_size, self.head = decoder.vocab_size, nn.Identity()
        if hasattr(decoder, "categories"):
            self.categories = decoder.categories

    def start(self, features: ImageFeatures) -> ContrastState:
        """See `Decoder.start`."""
        return ContrastState(self.decoder.start(features), (self.language_model.start(features),))

    def step(self, tokens: Tensor, state: ContrastState) -> tuple[Tensor, ContrastState]:
        """See `Decoder.step`."""
        logits, own = self.decoder.step(tokens, state.own)
        other_logits, other = self.language_model.step(tokens, state.others[0])
        return contrast(logits, in_float(other_logits).log_softmax(1), self.strength), ContrastState(own, (other,))

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, (sum of lengths, V); `head` changes nothing."""
        log_q = in_float(self.language_model(features, inputs, image_index)).log_softmax(1)
        return contrast(self.decoder(features, inputs, image_index), log_q, self.strength)


class WithoutImage(Decoder[State]):
    """A language model that gets 0 for every image, as it did from the encoder `Blind` that it was trained with.

    Args:
        decoder: the language model.
        zero_size: F of the features of zeros.

    Raises:
        InputError: `zero_size` is below 1.
    """

    def __init__(self, decoder: Decoder[Any], *, zero_size: int) -> None:
        super().__init__()
        if zero_size < 1:
            raise InputError(f"zero_size={zero_size} must be at least 1")
        self.decoder, self.zero_size = decoder, zero_size
        self.vocab_size, self.head = decoder.vocab_size, nn.Identity()

    def start(self, features: ImageFeatures) -> State:
        """See `Decoder.start`."""
        state: State = self.decoder.start(self._zeros(features))
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Decoder.step`."""
        return self.decoder.step(tokens, state)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, (sum of lengths, V); `head` changes nothing."""
        logits: Tensor = self.decoder(self._zeros(features), inputs, image_index)
        return logits

    def _zeros(self, features: ImageFeatures) -> ImageFeatures:
        return ImageFeatures(features.pooled.new_zeros(features.pooled.shape[0], self.zero_size))


class AgainstImages(Decoder[ContrastState]):
    """Divides by the mean probability of the words for other images.

    A step takes 1 + D steps of the decoder, and its state is as many states.

    Args:
        decoder: P(w | I).
        distractors: the features of D images as the decoder reads them: `Distractors.of(captioner.encode(...))`. They
            are the same for all images, so that a caption does not depend on its batch.
        strength: λ, at least 0.

    Raises:
        InputError: `strength` is negative.
    """

    def __init__(self, decoder: Decoder[Any], distractors: Distractors, *, strength: float) -> None:
        super().__init__()
        check_strength(strength)
        self.decoder, self.distractors, self.strength = decoder, distractors, strength
        self.vocab_size, self.head = decoder.vocab_size, nn.Identity()

    def start(self, features: ImageFeatures) -> ContrastState:
        """See `Decoder.start`."""
        first = torch.zeros(features.pooled.shape[0], dtype=torch.int64, device=features.pooled.device)
        others = tuple(self.decoder.start(other).rows(first) for other in self.distractors.each(features.pooled))
        return ContrastState(self.decoder.start(features), others)

    def step(self, tokens: Tensor, state: ContrastState) -> tuple[Tensor, ContrastState]:
        """See `Decoder.step`."""
        logits, own = self.decoder.step(tokens, state.own)
        steps = [self.decoder.step(tokens, other) for other in state.others]
        log_q = mean([other for other, _ in steps])
        return contrast(logits, log_q, self.strength), ContrastState(own, tuple(other for _, other in steps))

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, (sum of lengths, V); `head` changes nothing."""
        first = torch.zeros_like(image_index)
        every = [self.decoder(other, inputs, first) for other in self.distractors.each(features.pooled)]
        return contrast(self.decoder(features, inputs, image_index), mean(every), self.strength)


def check_strength(strength: float) -> None:
    """Check λ.

    Raises:
        InputError: it is not a number from 0.
    """
    if not 0 <= strength < math.inf:
        raise InputError(f"strength={strength} must be at least 0")


def mean(logits: list[Tensor]) -> Tensor:
    """Compute the logarithm of the mean of distributions, (b, V) each."""
    log_probs = torch.stack([in_float(own).log_softmax(1) for own in logits])
    return log_probs.logsumexp(0) - math.log(len(logits))


def contrast(logits: Tensor, log_q: Tensor, strength: float) -> Tensor:
    """Compute log p(w | I), (b, V), from the logits of P and from log Q."""
    scores = in_float(logits).log_softmax(1) - strength * log_q.clamp(min=_LEAST)
    return scores.log_softmax(1).to(logits.dtype)
