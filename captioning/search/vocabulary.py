"""Operations over the vocabulary that every step of a search needs, on large tensors of (rows, V)."""

from __future__ import annotations

from functools import lru_cache

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


def most_probable(log_probs: Tensor, before: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the most probable continuations of each image's prefixes by one token.

    Equal sums are ordered as `torch.topk` orders them.

    Args:
        log_probs: of each prefix's next token, (i·k, V).
        before: of each prefix, (i, k).
        count: the number of continuations; fewer are found if there are fewer, k·V.

    Returns:
        (i, c) each, best first: `before` + `log_probs` of the continuation, and its place among the k·V of the image.
    """
    (num_images, width), num_tokens = before.shape, log_probs.shape[1]
    own = log_probs.reshape(num_images, width * num_tokens)
    if num_tokens < 2 * count * _WIDTH:
        totals = own.view(num_images, width, num_tokens) + before[:, :, None]
        sums, places = totals.flatten(1).topk(min(count, width * num_tokens), dim=1)
        return sums, places
    # The largest sums are in the blocks with the largest maxima, or in the rest behind a row's last block.
    maxima = _blocks(log_probs).amax(2) + before.reshape(-1, 1)
    firsts, inside, rest = _places(width, num_tokens, before.device)
    near = firsts.take(maxima.view(num_images, len(firsts)).topk(count, dim=1).indices)
    places = torch.cat([(near[:, :, None] + inside).flatten(1), rest.expand(num_images, -1)], 1)
    totals = own.gather(1, places) + before.gather(1, places // num_tokens)
    sums, best = totals.topk(count, dim=1)
    return sums, places.gather(1, best)


@lru_cache(maxsize=4)
def _places(width: int, num_tokens: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return places among the k·V continuations of an image, (k·V).

    Returns:
        Those of the first tokens of all blocks, what to add to such a place within a block, (64), and those of the rest
        behind the last block of each row.
    """
    behind = num_tokens // _WIDTH * _WIDTH
    rows = torch.arange(width, device=device)[:, None] * num_tokens
    tokens = torch.arange(num_tokens, device=device)
    return (rows + tokens[:behind:_WIDTH]).flatten(), tokens[:_WIDTH], (rows + tokens[behind:]).flatten()


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
