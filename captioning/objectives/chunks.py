"""Losses over the vocabulary, a few rows at a time, so that the logits of a batch are never in memory together.

A loss that is a sum over rows needs the logits of a row only until it has the gradients of that row. So each chunk
computes its logits, its loss and the gradients of both before the next chunk starts. The backward pass multiplies what
was found by the gradient of the sum. Gradients of the head's weights add up over the chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder

_ON_CPU, _ELSEWHERE = 7 * 2**20, 2**26
"""The largest number of logits of a chunk: in float32, 28 MiB on a CPU and 256 MiB elsewhere.

Smaller chunks are slower on a CPU, because each adds to the gradients of the head's weights. glibc does not reuse freed
memory from 32 MiB on by itself. The number for other devices was not measured.
"""


def chunks(decoder: Decoder[Any], hidden: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split rows evenly into as few chunks as there may be, so that the logits of a chunk are of limited size.

    Args:
        decoder: the decoder.
        hidden: what its head reads, (N, ..).
        others: tensors with N rows, which are split in the same way.
    """
    most = _ON_CPU if hidden.device.type == "cpu" else _ELSEWHERE
    num_chunks = math.ceil(len(hidden) * decoder.vocab_size / most)
    rows = math.ceil(len(hidden) / max(1, num_chunks))
    return zip(*(torch.split(x, max(1, rows)) for x in (hidden, *others)), strict=True)


def summed_loss(decoder: Decoder[Any], hidden: Tensor, loss: Callable[..., Tensor], *others: Tensor) -> Tensor:
    """Sum a loss over rows, a scalar in float32 at least. Its gradients cannot be differentiated again.

    Args:
        decoder: the decoder. Its head maps each row by itself, and reads no other weights than the decoder's.
        hidden: what the head reads, (N, ..).
        loss: maps logits, (n, V) in float32 at least, and the same rows of `others` to losses (n).
        others: tensors with N rows and without gradients.
    """

    def part(h: Tensor, *own: Tensor) -> Tensor:
        return loss(in_float(decoder.head(h)), *own).sum()

    parts = list(chunks(decoder, hidden, *others))
    weights = [weight for weight in decoder.parameters() if weight.requires_grad]
    trained = torch.is_grad_enabled() and (hidden.requires_grad or weights)
    if len(parts) > 1 and trained:
        found: Tensor = _Summed.apply(part, [own for _, *own in parts], len(parts[0][0]), hidden, *weights)
        return found
    return torch.stack([part(*own) for own in parts]).sum()


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, part: Callable[..., Tensor], others: list[list[Tensor]], rows: int, hidden: Tensor, *weights: Tensor
    ) -> Tensor:
        sums, of_hidden, of_weights = list[Tensor](), list[Tensor](), list[Tensor | None]([None] * len(weights))
        for some, own in zip(torch.split(hidden, rows), others, strict=True):
            with torch.enable_grad():
                h = some.detach().requires_grad_()
                loss = part(h, *own)
            with torch.autocast(hidden.device.type, enabled=False):  # as in a backward pass
                of_h, *found = torch.autograd.grad(loss, (h, *weights), allow_unused=True)
            sums.append(loss.detach())
            of_hidden.append(of_h)
            of_weights = list(map(_added, of_weights, found))
        of_all = (None if g is None else g.to(w.dtype) for g, w in zip(of_weights, weights, strict=True))
        ctx.save_for_backward(torch.cat(of_hidden), *of_all)
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if g is None else g * gradient.to(g.dtype) for g in ctx.saved_tensors)
        return None, None, None, *scaled


def _added(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return None if gradient is None else in_float(gradient)
    return total.add_(gradient)
