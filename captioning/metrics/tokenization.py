"""Tokenizers of metrics: a metric shares one with other metrics, or has its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from captioning.metrics.files import ImageId
from captioning.metrics.penn_treebank import tokenizer as penn_treebank


class Tokenize(Protocol):
    """A function that tokenizes captions."""

    def __call__(self, captions: Mapping[ImageId, Sequence[str]], /) -> dict[ImageId, list[str]]:
        """Tokenize the captions of each image; the tokens of a caption are joined by spaces."""
        ...


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of captions.

    Attributes:
        name: as the signature reports it.
        tokenize: the function.
    """

    name: str
    tokenize: Tokenize


PENN_TREEBANK = Tokenizer(penn_treebank.NAME, penn_treebank.tokenize)
"""The tokenizer of COCO's evaluation."""


def keep_text(captions: Mapping[ImageId, Sequence[str]], /) -> dict[ImageId, list[str]]:
    """Copy captions unchanged, for a metric that tokenizes them itself."""
    return {image_id: list(group) for image_id, group in captions.items()}
