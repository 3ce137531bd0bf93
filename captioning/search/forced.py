"""Captions whose first tokens are given, and whose later ones the search finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Processor
from captioning.text.tokenizer import SpecialTokens


@dataclass(frozen=True)
class Forced(Processor):
    """Forces the first tokens of each image's caption, and leaves the later ones as they are.

    A forced token keeps its log-probability, so that scores stay the decoder's own. All prefixes have one length. No
    image can leave the batch before its prefix ends, so until then the rows of an image are adjacent and equally many.

    Args:
        prefixes: (I, t) int64, of each image.
    """

    prefixes: Tensor

    def __call__(self, step: int, _tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Set all log-probabilities but the forced token's to -inf."""
        num_images, length = self.prefixes.shape
        if step >= length:
            return log_probs
        words = self.prefixes[:, step].repeat_interleave(len(log_probs) // num_images)[:, None]
        return torch.full_like(log_probs, -torch.inf).scatter(1, words, log_probs.gather(1, words))


def continued(
    search: Search,
    decoder: Decoder[State],
    features: ImageFeatures,
    special: SpecialTokens,
    prefixes: Sequence[Sequence[int]],
) -> Hypotheses:
    """Search for the captions that start with each prefix, in one batch.

    Args:
        search: the search. Its own processors come first, so that a prefix that they forbid has no caption.
        decoder: in eval mode.
        features: of I images.
        special: the special tokens' ids.
        prefixes: of each image, the first tokens of its captions, without `<bos>`. All have one length.

    Raises:
        InputError: the prefixes differ in length, or there are not I of them.
    """
    if len({len(prefix) for prefix in prefixes}) != 1 or len(prefixes) != len(features):
        raise InputError(
            f"expected a prefix of each of {len(features)} images, all of one length; found lengths "
            f"{[len(prefix) for prefix in prefixes]}"
        )
    forced = Forced(torch.tensor([list(prefix) for prefix in prefixes], device=features.pooled.device))
    forcing: Search = replace(cast(Any, search), processors=(*search.processors, forced))
    return forcing(decoder, features, special)
