"""Random numbers of each image, which do not depend on its batch."""

from __future__ import annotations

import torch

from captioning.encoders.features import ImageFeatures
from captioning.seeds import seed_of

_NUM_CHANNELS = 8  # the order of the 8 largest features distinguishes images


def generators(features: ImageFeatures, seed: int) -> list[torch.Generator]:
    """Make a generator for each image, from a seed and the order of the image's largest features."""
    # An image's features are rounded differently in different batches, but their order hardly ever changes.
    order = features.pooled.sort(dim=1, descending=True, stable=True).indices[:, :_NUM_CHANNELS]
    return [torch.Generator().manual_seed(seed_of(seed, *channels)) for channels in order.tolist()]
