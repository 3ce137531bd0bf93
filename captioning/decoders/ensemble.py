"""Ensembles: several decoders of one vocabulary that predict each word together.

    p(w) = Σ_m λ_m p_m(w)                     the mean of probabilities
    p(w) ∝ exp(Σ_m λ_m log p_m(w))            the mean of log-probabilities, with Σ_m λ_m = 1

Source: Sutskever et al. 2014 (arXiv:1409.3215) search with ensembles of LSTMs, and do not print how they average. The
mean of log-probabilities is the product of experts of Hinton 2002 ("Training Products of Experts by Minimizing
Contrastive Divergence", Neural Computation 14), with exponents λ_m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError

Average = Literal["probabilities", "log_probabilities"]


@dataclass(frozen=True)
class EnsembleState(State):
    """The state of each member."""

    members: tuple[State, ...]


class Ensemble(Decoder[EnsembleState]):
    """Several decoders as one, whose logits are the logarithms of their mean.

    Args:
        members: at least one, with the same vocabulary.
        weights: λ, one for each member, above 0; they are divided by their sum. None for equal weights.
        average: "probabilities" or "log_probabilities".

    If members read objects, the attribute `categories` holds their categories.

    Raises:
        InputError: there is no member, or the sizes of their vocabularies or their object categories differ. A weight
            is not above 0, or there are not as many weights as members. There is no such average.
    """

    def __init__(
        self,
        members: Sequence[Decoder[Any]],
        *,
        weights: Sequence[float] | None = None,
        average: Average = "probabilities",
    ) -> None:
        super().__init__()
        if not members or len({member.vocab_size for member in members}) > 1:
            sizes = ", ".join(str(member.vocab_size) for member in members) or "none"
            raise InputError(f"expected members of one vocabulary, found members of these sizes: {sizes}")
        if average not in get_args(Average):
            raise InputError(f"average={average!r:.80}: expected one of {', '.join(get_args(Average))}")
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or not all(0 < weight < math.inf for weight in weights):
            raise InputError(f"weights={weights!r:.80}: expected {len(members)} numbers above 0, one for each member")
        categories = [list(own) for member in members if (own := getattr(member, "categories", None)) is not None]
        if any(own != categories[0] for own in categories):
            raise InputError("members read objects of different categories; train them on the same data")
        self.members = nn.ModuleList(members)
        self.vocab_size, self.head = members[0].vocab_size, nn.Identity()
        if categories:
            self.categories = categories[0]
        self.average = average
        self.log_weights = [math.log(weight / sum(weights)) for weight in weights]

    def start(self, features: ImageFeatures) -> EnsembleState:
        """See `Decoder.start`."""
        return EnsembleState(tuple(member.start(features) for member in self.members))  # type: ignore[operator]

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """See `Decoder.step`."""
        steps = [
            member.step(tokens, own)  # type: ignore[operator]
            for member, own in zip(self.members, state.members, strict=True)
        ]
        return self._mean([logits for logits, _ in steps]), EnsembleState(tuple(own for _, own in steps))

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, (sum of lengths, V); `head` changes nothing."""
        return self._mean([member(features, inputs, image_index) for member in self.members])

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        """Average the members' distributions, (b, V) each."""
        log_probs = torch.stack([in_float(own).log_softmax(1) for own in logits])
        log_weights = log_probs.new_tensor(self.log_weights)[:, None, None]
        if self.average == "probabilities":
            mean = (log_probs + log_weights).logsumexp(0)
        else:
            mean = (log_probs * log_weights.exp()).sum(0)
        return mean.to(logits[0].dtype)


class Member(Decoder[State]):
    """A member of an ensemble: a decoder that standardises features itself, and chooses them among several encoders'.

    Args:
        decoder: the decoder.
        feature_size: F of the encoder that it reads.
        standardise: the deviation to which the features are scaled for it; None for no scaling.
        encoder: which of the encoders it reads, from 0; see `ImageFeatures.others`.

    Raises:
        InputError: `encoder` is negative, or `standardise` is not above 0.
    """

    def __init__(
        self, decoder: Decoder[Any], *, feature_size: int, standardise: float | None = None, encoder: int = 0
    ) -> None:
        super().__init__()
        if encoder < 0 or (standardise is not None and not 0 < standardise < math.inf):
            raise InputError(f"encoder={encoder} must be at least 0, and standardise={standardise} above 0 or null")
        self.decoder, self.encoder = decoder, encoder
        self.vocab_size, self.head = decoder.vocab_size, nn.Identity()
        self.standardise = nn.Identity() if standardise is None else Standardise(feature_size, deviation=standardise)
        if hasattr(decoder, "categories"):
            self.categories = decoder.categories

    def start(self, features: ImageFeatures) -> State:
        """See `Decoder.start`."""
        state: State = self.decoder.start(self._own(features))
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Decoder.step`."""
        return self.decoder.step(tokens, state)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, (sum of lengths, V); `head` changes nothing."""
        logits: Tensor = self.decoder(self._own(features), inputs, image_index)
        return logits

    def _own(self, features: ImageFeatures) -> ImageFeatures:
        if self.encoder > len(features.others):
            raise InputError(
                f"this ensemble reads {self.encoder + 1} encoders, but the features are those of "
                f"{len(features.others) + 1}; cached features serve an ensemble only if its members share one encoder"
            )
        own = features.others[self.encoder - 1] if self.encoder else features
        standardised: ImageFeatures = self.standardise(replace(own, objects=features.objects, others=()))
        return standardised
