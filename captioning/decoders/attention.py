"""Additive attention over an image's places, which stand in memory once however many rows look at them.

    e_i = w · tanh(W_v a_i + W_h h + b)        α = softmax(e)        z = Σ_i α_i a_i

Source: Bahdanau, Cho, Bengio 2015 (arXiv:1409.0473), A.1.2; over an image's places Xu et al. 2015
(arXiv:1502.03044), equations 1 and 8.
Differs: a place that is not real has weight 0, since a batch's images may differ in their number of regions.
A scalar bias on e, which some papers print, is left out: it cancels in the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.decoders.decoder import State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


@dataclass(frozen=True)
class Memory(State):
    """What B rows attend to: the places of I images, and which image each row looks at.

    Picking rows picks indices. The places stay where they are, and a beam costs no copy of them.

    Attributes:
        values: a_i, (I, R, F).
        keys: W_v a_i + b, (I, R, A).
        mask: (I, R) bool, True where a place is real; None when all are.
        image: (B,) int64, each row's image.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor | None
    image: Tensor

    def rows(self, index: Tensor) -> Memory:
        """Pick (and repeat) rows by `index`, an int64 tensor of any length."""
        return replace(self, image=self.image.index_select(0, index))

    def mean(self) -> Tensor:
        """The mean of each image's real places, (I, F)."""
        if self.mask is None:
            return self.values.mean(1)
        real = self.mask.to(self.values.dtype)[:, :, None]
        return (self.values * real).sum(1) / real.sum(1)

    def mix(self, weights: Tensor) -> Tensor:
        """Σ_i α_i a_i of each row's image, (B, F), for weights (B, R)."""
        num_places = self.values.shape[1]
        cells = self.image[:, None] * num_places + torch.arange(num_places, device=weights.device)
        values = self.values.flatten(0, 1)
        return F.embedding_bag(cells, values, per_sample_weights=weights.to(values.dtype), mode="sum")


class AdditiveAttention(nn.Module):
    """Weigh an image's places by their fit with the decoder's state.

    Args:
        key: maps places (.., F) to (.., A); W_v and b, or deeper.
        query_size: D, of the state.
        attention_size: A.
    """

    def __init__(self, key: nn.Module, query_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = key  # W_v, b
        self.from_query = nn.Linear(query_size, attention_size, bias=False)  # W_h
        self.score = nn.Linear(attention_size, 1, bias=False)  # w

    def memory(self, values: Tensor, mask: Tensor | None) -> Memory:
        """What depends on the images alone, computed once: a row an image.

        Args:
            values: a_i, (I, R, F).
            mask: (I, R) bool, at least one True in each row; or None.
        """
        image = torch.arange(len(values), device=values.device)
        return Memory(values, self.key(values), mask, image)

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """α, (B, R): non-negative, rows sum to 1, 0 where a place is not real; for queries (B, D)."""
        keys = memory.keys.index_select(0, memory.image)
        e: Tensor = self.score(torch.tanh(keys + self.from_query(query)[:, None])).squeeze(2)
        if memory.mask is not None:
            e = e.masked_fill(~memory.mask.index_select(0, memory.image), -torch.inf)
        return in_float(e).softmax(1)


def in_float(x: Tensor) -> Tensor:
    """`x` in float32 at least: of sums over many steps or places autocast's bfloat16 keeps too little."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def places(features: ImageFeatures) -> Tensor:
    """The grid or regions (I, R, F) that attention needs.

    Raises:
        InputError: the features have none.
    """
    if features.grid is None:
        raise InputError(
            "this decoder attends to places of the image, but the features have none; use encoder.grid=true"
        )
    return features.grid
