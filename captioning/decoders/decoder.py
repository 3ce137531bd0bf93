"""The interface through which training and search use a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.encoders.features import ImageFeatures


class Capability(StrEnum):
    """What an objective may need, and a decoder or the data may provide."""

    REGIONS = "attention over regions"
    SAMPLED_REGIONS = "sampled regions"
    OBJECTS = "annotated objects"


@dataclass(frozen=True)
class State:
    """All that a decoder's next step needs. The first dimension of every tensor is the row."""

    def rows(self, index: Tensor) -> Self:
        """Pick (and repeat) rows by `index`, an int64 tensor of any length."""
        return self.map(lambda x: x.index_select(0, index))

    def first(self, count: int) -> Self:
        """Pick the first `count` rows without a copy."""
        return self.map(lambda x: x[:count])

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Apply `change` to every tensor."""
        return type(self)(**{f.name: _map(getattr(self, f.name), change) for f in fields(self)})


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, tuple):
        return tuple(_map(v, change) for v in value)
    if isinstance(value, State):
        return value.map(change)
    return change(value)


S = TypeVar("S", bound=State)


class Decoder(nn.Module, ABC, Generic[S]):
    """A recurrent language model conditioned on an image.

    Attributes:
        vocab_size: V.
        head: the projection from the last hidden layer to logits (.., V). It maps each row by itself.
        needs: what the data must provide; known before a decoder is built.
    """

    vocab_size: int
    head: nn.Module
    needs: ClassVar[frozenset[Capability]] = frozenset()

    @property
    def provides(self) -> frozenset[Capability]:
        """What this decoder offers to an objective beyond its logits."""
        return frozenset()

    @abstractmethod
    def start(self, features: ImageFeatures) -> S:
        """Compute, once per image, everything that depends on the image alone; return a state of I rows."""

    @abstractmethod
    def step(self, tokens: Tensor, state: S) -> tuple[Tensor, S]:
        """Read one token per row, (B,) int64; return the next token's logits, (B, V), and the new state.

        The logits are a new tensor, which a search overwrites.
        """

    @abstractmethod
    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute, by teacher forcing, what `head` turns into logits, (sum of lengths, ..).

        Args:
            features: features of I images.
            inputs: packed (N, T) int64 tokens, `<bos>` first.
            image_index: (N) int64, the row of each caption's image in the features, in the order that the captions had
                before they were packed.
        """

    def forward(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute, by teacher forcing, the logits of each next token, (sum of lengths, V), packed as the inputs."""
        logits: Tensor = self.head(self.hidden(features, inputs, image_index))
        return logits


@dataclass(frozen=True)
class Attended:
    """The result of teacher forcing in an attentive decoder; every tensor is packed as the inputs.

    Attributes:
        hidden: what `head` turns into logits, (sum of lengths, ..).
        attention: α_t, the weight of each region when a token is predicted, (sum of lengths, R).
        log_choice: the log-probability of the sampled region, (sum of lengths); 0 for captions without a sample. None
            if the decoder never samples regions.
    """

    hidden: Tensor
    attention: Tensor
    log_choice: Tensor | None = None


class AttentiveDecoder(Decoder[S]):
    """A decoder that attends to regions of the image and returns its attention weights."""

    @property
    def provides(self) -> frozenset[Capability]:
        """Attention over regions."""
        return frozenset({Capability.REGIONS})

    @abstractmethod
    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """Compute, by teacher forcing, the result of `hidden` and the attention weights; arguments as for `hidden`."""

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`."""
        return self.attend(features, inputs, image_index).hidden


def packed_rows(inputs: PackedSequence) -> Tensor:
    """Return the sequence that each packed position belongs to, (sum of lengths) int64.

    Sequences are counted in the order that they had before they were packed.
    """
    sizes = inputs.batch_sizes
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    rows = (torch.arange(len(starts)) - starts).to(inputs.data.device)
    return rows if inputs.sorted_indices is None else inputs.sorted_indices[rows]
