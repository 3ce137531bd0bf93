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
    """

    def __init__(self, feature_size: int, joint_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(feature_size, joint_size)

    def forward(self, features: ImageFeatures) -> Embedded:
        """Embed I images, (I, 1 + R, h): row 0 is the whole image, row 1 + r is region r.

        Raises:
            InputError: the features have no grid.
        """
        if features.grid is None:
            raise InputError("this matcher scores regions, but the features have none; use encoder.grid=true")
        x = torch.cat([features.pooled[:, None], features.grid], 1)
        mask = features.mask
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        return Embedded(self.project(self.dropout(x)), mask)  # (1)
