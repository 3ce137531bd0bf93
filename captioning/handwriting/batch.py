"""Batches of handwritten lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence

from captioning.errors import InputError, shown
from captioning.handwriting.font import Line


@dataclass(frozen=True)
class StrokeBatch:
    """N lines.

    Attributes:
        inputs: x_0 to x_{T-1}, packed (N, T, 3), where x_0 = 0: the pen stands at the left end of the base line.
        targets: x_1 to x_T, packed in the same way.
        texts: the N texts.
    """

    inputs: PackedSequence
    targets: PackedSequence
    texts: tuple[str, ...]


def collate(lines: Sequence[Line]) -> StrokeBatch:
    """Make a batch of lines."""
    points = [torch.from_numpy(line.points) for line in lines]
    shifted = [torch.cat([own.new_zeros(1, 3), own[:-1]]) for own in points]
    inputs, targets = (pack_sequence(own, enforce_sorted=False) for own in (shifted, points))
    return StrokeBatch(inputs, targets, tuple(line.text for line in lines))


def one_hot(texts: Sequence[str], alphabet: str) -> Tensor:
    """Encode the characters of texts.

    Args:
        texts: N texts of at most U characters.
        alphabet: its A characters.

    Returns:
        (N, U + 1, A) float32; what follows a text's characters is 0.

    Raises:
        InputError: a text has a character that is not in the alphabet, or no character.
    """
    for text in texts:
        if unknown := sorted(set(text) - set(alphabet)):
            raise InputError(f"text {shown(text)} has {unknown[0]!r}; the network writes only {alphabet!r}")
        if not text:
            raise InputError("a text is empty; expected at least one character")
    ids = [torch.tensor([alphabet.index(character) for character in text]) for text in texts]
    rows = [F.pad(F.one_hot(own, len(alphabet)), (0, 0, 0, 1)) for own in ids]
    return pad_sequence(rows, batch_first=True).float()
