"""What metrics are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.ngrams import ReferenceNGrams

Floats = NDArray[np.float64]


class Embedding(Protocol):
    """Embeds texts and images in one space, such as `captioning.evaluation.clip.Clip`.

    Attributes:
        version: identifies the model in a signature.
    """

    version: str

    def texts(self, texts: Sequence[str]) -> Floats:
        """Embed N texts as vectors of length 1, (N, P)."""
        ...

    def images(self, paths: Sequence[Path]) -> Floats:
        """Embed the images in I files as vectors of length 1, (I, P)."""
        ...


@dataclass(frozen=True)
class Resources:
    """The references of I images in every form that a metric may need, and what else it may be built from.

    Attributes:
        text: the references of each image, as published.
        tokens: the same, tokenized; the tokens of a reference are joined by spaces.
        frequencies: CIDEr's document frequencies; None counts these references.
        images: the file of each image.
        embedding: a CLIP model.
    """

    text: Sequence[Sequence[str]]
    tokens: Sequence[Sequence[str]]
    frequencies: DocumentFrequencies | None = None
    images: Sequence[Path] | None = None
    embedding: Embedding | None = None

    @cached_property
    def ngrams(self) -> ReferenceNGrams:
        """The n-grams of `tokens`, counted once for all metrics."""
        return ReferenceNGrams(self.tokens)
