"""The interface through which training, retrieval and alignment use a matcher of images and sentences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from captioning.encoders.features import ImageFeatures


@dataclass(frozen=True)
class Embedded:
    """Images or sentences (B rows) as vectors of one space.

    Attributes:
        vectors: (B, R, h), each image's regions, or (B, T, h), each sentence's words. A model with one vector for each
            image or sentence has R = 1 or T = 1.
        mask: (B, R) or (B, T) bool, True for real regions or words, False for padding; None if all are real. A sentence
            without words has no real vector; an image has at least one.
    """

    vectors: Tensor
    mask: Tensor | None = None

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def rows(self, index: Tensor | slice) -> Self:
        """Select images or sentences by an int64 tensor, which may repeat them, or by a slice."""
        return self._map(lambda x: x[index])

    def to(self, device: torch.device | str) -> Self:
        """Move every tensor to `device`."""
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, vectors=change(self.vectors), mask=None if self.mask is None else change(self.mask))


class Matcher(nn.Module, ABC):
    """Scores how well a sentence fits an image.

    Images and sentences are embedded apart from each other, so each is embedded once, however many pairs are scored.

    Attributes:
        vocab_size: V.
    """

    vocab_size: int

    @abstractmethod
    def images(self, features: ImageFeatures) -> Embedded:
        """Embed I images; the rows keep their order.

        Raises:
            InputError: the features lack something that the matcher needs, such as the grid.
        """

    @abstractmethod
    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        """Embed N sentences; the rows keep their order.

        Args:
            tokens: (N, T) int64, the words without `<bos>` and `<eos>`. What follows a sentence's words is ignored.
            lengths: (N,) int64 on the CPU, the number of words of each sentence, in any order; 0 for none.
        """

    @abstractmethod
    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        """Score every sentence with every image, (I, N) float32 or float64. A sentence without words scores 0."""
