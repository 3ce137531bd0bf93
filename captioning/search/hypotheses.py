"""The interface of all searches, and the hypotheses that they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError, shown
from captioning.search.processors import Processor
from captioning.text.tokenizer import SpecialTokens

LONGEST = 4096
"""The largest `max_length`, so that a bundle from somebody else cannot make a search run for hours."""


@dataclass(frozen=True)
class Hypotheses:
    """The n best captions of I images, best first.

    Attributes:
        tokens: (I, n, T) int64, without `<bos>`, with `<eos>` where the caption ended, then padding.
        lengths: (I, n) int64, the number of tokens without padding; 0 where fewer than n hypotheses were found.
        scores: (I, n) float32, the sum of the tokens' log-probabilities; -inf where there is no hypothesis.
        token_scores: (I, n, T) float32, the log-probability of each token; 0 at padding.
        finished: (I, n) bool, False where the caption was truncated, or where there is no hypothesis.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    token_scores: Tensor
    finished: Tensor


class Search(ABC):
    """Finds captions of images.

    A search is a frozen dataclass whose fields are its settings. Results list the settings in the order of the fields.
    `dataclasses.replace` makes a search with other settings. Every search has the fields below, and may have more. A
    bundle can contain only searches that derive from this class.

    Attributes:
        max_length: the maximum number of tokens, `<eos>` included; at most 4,096.
        allow_unknown: whether `<unk>` may be chosen.
        processors: applied in this order to the log-probabilities of each step.

    Raises:
        InputError: `max_length` is not in 1..4096, or a processor is a search.
    """

    max_length: int
    allow_unknown: bool
    processors: Sequence[Processor]

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise InputError(f"max_length={self.max_length} must be at least 1")
        if self.max_length > LONGEST:
            raise InputError(f"max_length={self.max_length} must be at most {LONGEST}")
        object.__setattr__(self, "processors", tuple(self.processors))  # configurations give lists
        for found in cast(Any, self.processors):
            if isinstance(found, Search):
                raise InputError(f"processors: {type(found).__name__} is no Processor, but a search")
            if not callable(found):
                raise InputError(f"processors: {shown(repr(found))} is no Processor; give its class as _target_")

    @abstractmethod
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """Search for captions of each image. The decoder should be in eval mode: dropout would change the captions."""

    def settings(self) -> dict[str, Any]:
        """Return the value of every field by its name."""
        return {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
