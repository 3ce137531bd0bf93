"""An image's regions as vectors of the space that sentences share."""

from __future__ import annotations

import torch
from torch import nn

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers.matcher import Embedded


class Regions(nn.Module):
    """Embed an image as its regions and, before them, the whole image.

        v_i = W_m CNN(I_b) + b_m                  (1)

    Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306).
    Differs: the regions are the encoder's grid cells (or whatever it has as regions), and the whole image is the pooled
    feature; in the paper 19 detected boxes and the whole image pass through the CNN one by one.

    Args:
        feature_size: F.
        joint_size: h.
        dropout: on CNN(I_b).
        num_drawn: how many regions each batch of training draws, so that a step costs less; the same ones in all its
            images. None for all regions, as in evaluation.

    Raises:
        InputError: `num_drawn` is below 1.
    """

    def __init__(
        self, feature_size: int, joint_size: int, *, dropout: float = 0.0, num_drawn: int | None = None
    ) -> None:
        super().__init__()
        if num_drawn is not None and num_drawn < 1:
            raise InputError(f"num_drawn={num_drawn} must be at least 1, or null for all regions")
        self.num_drawn = num_drawn
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(feature_size, joint_size)

    def forward(self, features: ImageFeatures) -> Embedded:
        """Embed I images, (I, 1 + R, h): row 0 is the whole image, and in evaluation row 1 + r is region r.

        Raises:
            InputError: the features have no grid.
        """
        if features.grid is None:
            raise InputError("this matcher scores regions, but the features have none; use encoder.grid=true")
        grid, mask = features.grid, features.mask
        if self.training and self.num_drawn is not None and self.num_drawn < grid.shape[1]:
            drawn = torch.randperm(grid.shape[1])[: self.num_drawn].to(grid.device)
            grid, mask = grid[:, drawn], None if mask is None else mask[:, drawn]
        x = torch.cat([features.pooled[:, None], grid], 1)
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        return Embedded(self.project(self.dropout(x)), mask)  # (1)
