"""Operations over the vocabulary that every step of a search needs, on large tensors of (rows, V)."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTH = 64
"""The number of tokens of a block, whose largest value is found by vector instructions."""


def log_probabilities(logits: Tensor) -> Tensor:
    """Turn logits (B, V) into log-probabilities in float32; logits in float32 are overwritten.

    A second buffer of this size would cost about as much time as the softmax.
    """
    log_probs = logits.float()
    return torch.log_softmax(log_probs, 1, out=log_probs)


def most_probable(log_probs: Tensor, before: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable continuations of each image's prefixes by one token.

    Equal sums are ordered as `torch.topk` orders them.

    Args:
        log_probs: of each prefix's next token, (i·k, V).
        before: of each prefix, (i, k).
        count: the number of continuations; fewer are found if there are fewer, k·V.

    Returns:
        (i, c) each, best first: `before` + `log_probs` of the continuation, its row in `log_probs`, and its token.
    """
    (num_images, width), num_tokens = before.shape, log_probs.shape[1]
    first = torch.arange(0, num_images * width, width, device=before.device)[:, None]
    if num_tokens < 2 * count * _WIDTH:
        totals = (log_probs + before.flatten()[:, None]).view(num_images, width * num_tokens)
        sums, at = totals.topk(min(count, width * num_tokens), dim=1)
        return sums, first + at // num_tokens, at % num_tokens
    # The largest sums are in the blocks with the largest maxima, or in the rest behind a row's last block.
    blocks = _blocks(log_probs)
    num_blocks = blocks.shape[1]
    maxima = (blocks.amax(2) + before.flatten()[:, None]).view(num_images, width * num_blocks)
    near = maxima.topk(count, dim=1).indices
    rows, block = first + near // num_blocks, near % num_blocks
    inside = blocks[rows, block] + before.flatten()[rows][:, :, None]
    rest = log_probs[:, num_blocks * _WIDTH :] + before.flatten()[:, None]
    num_rest, num_near = rest.shape[1], count * _WIDTH
    sums, at = torch.cat([inside.flatten(1), rest.view(num_images, width * num_rest)], 1).topk(count, dim=1)
    which, behind, num_rest = (at // _WIDTH).clamp(max=count - 1), at - num_near, max(1, num_rest)
    near_words, last_words = block.gather(1, which) * _WIDTH + at % _WIDTH, num_blocks * _WIDTH + behind % num_rest
    found = torch.where(at < num_near, rows.gather(1, which), first + behind // num_rest)
    return sums, found, torch.where(at < num_near, near_words, last_words)


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
