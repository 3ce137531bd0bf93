"""The protocol that training and search know a decoder by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.encoders.features import ImageFeatures


@dataclass(frozen=True)
class State:
    """All that a decoder's next step needs. Every tensor's first dimension is the row."""

    def rows(self, index: Tensor) -> Self:
        """Pick (and repeat) rows by `index`, an int64 tensor of any length."""
        return replace(self, **{f.name: _pick(getattr(self, f.name), index) for f in fields(self)})


def _pick(value: Any, index: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_pick(v, index) for v in value)
    if isinstance(value, State):
        return value.rows(index)
    return value.index_select(0, index)


S = TypeVar("S", bound=State)


class Decoder(nn.Module, ABC, Generic[S]):
    """A recurrent language model that has seen an image.

    Attributes:
        vocab_size: V.
        head: the projection from the last hidden layer to logits (.., V).
    """

    vocab_size: int
    head: nn.Module

    @abstractmethod
    def start(self, features: ImageFeatures) -> S:
        """Compute, once an image, everything that depends on the image alone; I rows."""

    @abstractmethod
    def step(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """Read one token a row, (B,) int64; return the next token's logits (B, V) and the new state."""

    @abstractmethod
    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Teacher forcing up to the head: what `head` turns into logits, (sum of lengths, ..).

        Args:
            features: of I images.
            inputs: packed (N, T) int64 tokens, `<bos>` first, sorted from the longest.
            image_index: (N) int64, each caption's row in the features.
        """

    def forward(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Teacher forcing: logits of each next token, (sum of lengths, V), packed as the inputs."""
        logits: Tensor = self.head(self.hidden(features, inputs, image_index))
        return logits


@dataclass(frozen=True)
class Attended:
    """Teacher forcing of a decoder that attends; every tensor is packed as the inputs.

    Attributes:
        hidden: what `head` turns into logits, (sum of lengths, ..).
        attention: α_t, the weight of each place when a token is predicted, (sum of lengths, R).
        log_choice: log-probability of the place that was drawn, (sum of lengths); 0 where none is drawn.
    """

    hidden: Tensor
    attention: Tensor
    log_choice: Tensor


class AttentiveDecoder(Decoder[S]):
    """A decoder that looks at places of the image, and can say where."""

    @abstractmethod
    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """Teacher forcing that tells where the decoder looked; arguments as `hidden`'s."""

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`."""
        return self.attend(features, inputs, image_index).hidden


def packed_rows(inputs: PackedSequence) -> Tensor:
    """Which sequence each packed position belongs to, (sum of lengths) int64."""
    sizes = inputs.batch_sizes
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return (torch.arange(len(starts)) - starts).to(inputs.data.device)
