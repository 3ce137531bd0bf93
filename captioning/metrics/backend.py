"""Whose code turns captions into figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from captioning.metrics.cider import DocumentFrequencies
from captioning.metrics.files import ImageId


@dataclass(frozen=True)
class Figures:
    """What I captions scored.

    Attributes:
        corpus: by the figure's name.
        per_image: the same of each image, in the references' order.
        statistics: (I, S) by metric; empty where the backend has none.
    """

    corpus: dict[str, float]
    per_image: dict[str, Sequence[float]]
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class Backend(Protocol):
    """Tokenizes captions, prepares references once, and scores captions against them.

    It is constructed with the tokenized references of each image, the metrics' names, which are among `known`, and
    CIDEr's document frequencies, None for those of the references.
    """

    known: ClassVar[tuple[str, ...]]

    def __init__(
        self, references: Sequence[Sequence[str]], metrics: Sequence[str], frequencies: DocumentFrequencies | None
    ) -> None: ...

    @staticmethod
    def tokenize(captions: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, list[str]]:
        """Tokenize the captions of each key."""
        ...

    def score(self, captions: Sequence[str]) -> Figures:
        """Score one tokenized caption of each image."""
        ...

    def versions(self) -> dict[str, Any]:
        """What of it moves the figures."""
        ...

    def close(self) -> None:
        """End what it keeps running."""
        ...
