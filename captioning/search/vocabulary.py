"""Operations over the vocabulary that every step of a search needs, on large tensors of (rows, V)."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTH = 64
"""The number of tokens of a block, whose largest value is found by vector instructions."""
_FEW = 8
"""The number of rows up to which one call of `topk` takes less time than the calls for blocks."""


def log_probabilities(logits: Tensor) -> Tensor:
    """Turn logits (B, V) into log-probabilities in float32; logits in float32 are overwritten.

    A second buffer of this size would cost about as much time as the softmax.
    """
    log_probs = logits.float()
    return torch.log_softmax(log_probs, 1, out=log_probs)


def most_probable(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest of each row of (B, V), at most V: their values and their tokens, (B, k) each, largest first.

    Equal values are ordered as `torch.topk` orders them.
    """
    num_tokens = log_probs.shape[1]
    if num_tokens < 4 * k * _WIDTH or len(log_probs) <= _FEW:
        values, tokens = log_probs.topk(min(k, num_tokens), dim=1)
        return values, tokens
    # The k largest are in the k blocks with the largest maxima, or in the rest behind the last block.
    blocks = _blocks(log_probs)
    near = blocks.amax(2).topk(k, dim=1).indices
    rows = torch.arange(len(near), device=near.device)[:, None]
    rest = log_probs[:, blocks.shape[1] * _WIDTH :]
    values, at = torch.cat([blocks[rows, near].flatten(1), rest], 1).topk(k, dim=1)
    num_near = k * _WIDTH
    in_block = near.gather(1, (at // _WIDTH).clamp(max=k - 1)) * _WIDTH + at % _WIDTH
    return values, torch.where(at < num_near, in_block, at + (num_tokens - rest.shape[1] - num_near))


def most_probable_one(log_probs: Tensor) -> Tensor:
    """Find the token of the largest value of each row of (B, V), (B,): the first one of equal values."""
    if log_probs.shape[1] < 4 * _WIDTH:
        return log_probs.argmax(1)
    blocks = _blocks(log_probs)
    best = blocks.amax(2).argmax(1)
    inside = blocks[torch.arange(len(best), device=best.device), best]
    rest = log_probs[:, blocks.shape[1] * _WIDTH :]
    at = torch.cat([inside, rest], 1).argmax(1)
    return torch.where(at < _WIDTH, best * _WIDTH + at, at + (blocks.shape[1] - 1) * _WIDTH)


def _blocks(x: Tensor) -> Tensor:
    """View all but the last V mod 64 columns of (B, V) as (B, V // 64, 64)."""
    count = x.shape[1] // _WIDTH
    return x[:, : count * _WIDTH].view(len(x), count, _WIDTH)
