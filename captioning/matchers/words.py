"""Packing of a batch of sentences in any order, and back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def packed(tokens: Tensor, lengths: Tensor) -> PackedSequence:
    """Pack words (N, T) int64. A sentence without words is packed as one padding token, because none cannot be packed.

    Args:
        tokens: (N, T) int64.
        lengths: (N,) int64 on the CPU, 0 to T.
    """
    if not tokens.shape[1]:
        tokens = tokens.new_zeros(len(tokens), 1)
    return pack_padded_sequence(tokens, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)


def padded(vectors: PackedSequence, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack what was computed from `packed`: vectors (N, T, ..), and the mask (N, T) of real words."""
    rows, _ = pad_packed_sequence(vectors, batch_first=True)
    return rows, is_word(lengths, rows.shape[1]).to(rows.device)


def is_word(lengths: Tensor, num_words: int) -> Tensor:
    """Return the mask (N, T) of real words."""
    return torch.arange(num_words) < lengths[:, None]
