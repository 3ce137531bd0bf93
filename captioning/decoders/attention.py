"""Additive attention over an image's regions, and the loop over time of attentive decoders.

    e_i = w · tanh(W_v a_i + W_h h + b)        α = softmax(e)        z = Σ_i α_i a_i

Source: Bahdanau, Cho, Bengio 2015 (arXiv:1409.0473), A.1.2; over the regions of an image Xu et al. 2015
(arXiv:1502.03044), equations 1 and 8.
Differs: padding among the regions has weight 0, since the images of a batch may differ in their number of regions.
A scalar bias on e, which some papers print, is left out: it cancels in the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.onednn import tanh

_CACHED = 2**18
"""The number of keys' elements that are computed at a time: 1 MB in float32."""


@dataclass(frozen=True)
class Memory(State):
    """The regions of I images, and the image that each of B rows attends to.

    Selecting rows selects entries of `image`. The regions are not copied, so a beam needs no memory for them.

    Attributes:
        values: a_i, (I, R, F).
        keys: W_v a_i + b, (I, R, A).
        mask: (I, R) bool, True where a region is real; None if all are.
        image: (B,) int64, each row's image.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor | None
    image: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change `image`, the only tensor that has rows."""
        return replace(self, image=change(self.image))

    def mean(self) -> Tensor:
        """Average each image's real regions, (I, F)."""
        if self.mask is None:
            return self.values.mean(1)
        real = self.mask.to(self.values.dtype)[:, :, None]
        return (self.values * real).sum(1) / real.sum(1)

    def mix(self, weights: Tensor) -> Tensor:
        """Compute Σ_i α_i a_i over the regions of each row's image, (B, F), for weights (B, R)."""
        num_regions = self.values.shape[1]
        regions = self.image[:, None] * num_regions + torch.arange(num_regions, device=weights.device)
        values = self.values.flatten(0, 1)
        return F.embedding_bag(regions, values, per_sample_weights=weights.to(values.dtype), mode="sum")


class AdditiveAttention(nn.Module):
    """Weights an image's regions by how well they match the decoder's state.

    Args:
        key: maps regions (.., F) to (.., A): W_v and b, or a deeper network.
        query_size: D, the width of the state.
        attention_size: A.
    """

    def __init__(self, key: nn.Module, query_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = key  # W_v, b
        self.from_query = nn.Linear(query_size, attention_size, bias=False)  # W_h
        self.score = nn.Linear(attention_size, 1, bias=False)  # w

    def memory(self, values: Tensor, mask: Tensor | None) -> Memory:
        """Compute what depends only on the images, with one row per image.

        Args:
            values: a_i, (I, R, F). Those of regions that are not real may hold anything, NaN too.
            mask: (I, R) bool, with at least one True in each row; or None.

        Raises:
            InputError: an image has no real region.
        """
        if mask is not None:
            check_regions(mask)
            values = values.masked_fill(~mask[:, :, None], 0.0)  # a weight of 0 does not remove NaN
        image = torch.arange(values.shape[0], device=values.device)
        return Memory(values, self.key(values), mask, image)

    def energies(self, query: Tensor, memory: Memory) -> Tensor:
        """Compute e, (B, R), for queries (B, D); -inf where a region is not real."""
        queries = self.from_query(query)
        _, num_regions, width = memory.keys.shape
        blocks = [(memory.image, queries)]
        if not torch.is_grad_enabled():  # a few rows at a time, whose keys stay in the processor's cache
            count = max(1, _CACHED // max(1, num_regions * width))
            blocks = list(zip(torch.split(memory.image, count), torch.split(queries, count), strict=True))
        parts = [self._scores(memory.keys.index_select(0, image).add_(some[:, None])) for image, some in blocks]
        e = torch.cat(parts).squeeze(2)
        if memory.mask is not None:
            e = e.masked_fill(~memory.mask.index_select(0, memory.image), -torch.inf)
        return e

    def _scores(self, x: Tensor) -> Tensor:
        """Compute w · tanh(x), (b, R, 1), for x (b, R, A), which may be overwritten."""
        e: Tensor
        if torch.is_grad_enabled() or x.element_size() < 4:
            e = self.score(tanh(x))
        else:  # tanh(x) = 2 σ(2x) - 1, and torch computes σ in a fraction of the time; too coarse for bfloat16
            e = self.score(x.mul_(2).sigmoid_()).mul_(2).sub_(self.score.weight.sum())
        return e

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """Compute α, (B, R), for queries (B, D): rows sum to 1, and a region that is not real has weight 0."""
        return normalise(self.energies(query, memory))


def normalise(energies: Tensor) -> Tensor:
    """Turn energies (B, R) into weights: softmax, in float32 at least."""
    return in_float(energies).softmax(1)


def in_float(x: Tensor) -> Tensor:
    """Convert `x` to float32 at least: autocast's bfloat16 is too coarse for sums over many steps or regions."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def regions(features: ImageFeatures) -> Tensor:
    """Return the grid cells or regions, (I, R, F), that attention needs.

    Raises:
        InputError: the features have no regions.
    """
    if features.grid is None:
        raise InputError("this decoder attends to regions, but the features have none; use encoder.grid=true")
    return features.grid


def check_regions(mask: Tensor) -> None:
    """Check that every image has a real region, by a mask (I, R) of real regions.

    Raises:
        InputError: an image has no real region.
    """
    empty = ~mask.any(1)
    if empty.any():
        raise InputError(
            f"{int(empty.sum())} of {len(mask)} images have no real region (the first is in row "
            f"{int(empty.nonzero()[0])} of the batch), expected at least one each; leave them out, or give each one "
            "region such as the whole image"
        )


class AttentionStep(NamedTuple):
    """What a cell returns for each row: the output that the head reads, (B, D), and α, (B, R)."""

    hidden: Tensor
    attention: Tensor


S = TypeVar("S", bound=State)
Outputs = TypeVar("Outputs", bound=NamedTuple)


def unrolled(cell: Callable[[Tensor, S], tuple[Outputs, S]], inputs: PackedSequence, state: S) -> Outputs:
    """Call `cell` for each time step of packed sequences.

    Args:
        cell: maps the inputs of the rows that have not ended, (b, ..), and their state to its outputs, a named tuple
            of (b, ..) tensors, and the next state. The same function serves `Decoder.step`.
        inputs: packed. Packing sorts by decreasing length, so the rows that have not ended are always the first.
        state: the state before the first step; B rows, in the order that they had before packing.

    Returns:
        The outputs of all steps, packed as the inputs: (sum of lengths, ..) each. If a step's outputs differ in
        dtype, as in a decoder of bfloat16 whose attention weights are float32, all have the widest.
    """
    steps = list[Tensor]()
    if inputs.sorted_indices is not None:
        state = state.rows(inputs.sorted_indices)
    for x in torch.split(inputs.data, inputs.batch_sizes.tolist()):
        if steps and len(x) < len(steps[-1]):
            state = state.first(len(x))
        outputs, state = cell(x, state)
        steps.append(torch.cat(outputs, 1))
    widths = [output.shape[1] for output in outputs]
    return outputs._make(torch.split(torch.cat(steps), widths, 1))
