"""Fuse convolutions with the batch normalisations behind them, for a frozen network that computes many features."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from captioning.encoders.encoder import Encoder
from captioning.encoders.surgery import example
from captioning.encoders.transform import ImageTransform

log = logging.getLogger(__name__)

_TOLERANCE = 1e-3
"""The largest difference from the features of the network as it was, relative to their size."""


@torch.no_grad()
def fused(encoder: Encoder) -> Encoder:
    """Copy an encoder of images and fuse its convolutions with their batch normalisations.

    Neighbours among a module's children are taken for layers that follow each other. Networks whose `forward` has
    another order are noticed, because their features change.

    Args:
        encoder: in evaluation mode, with float32 weights.

    Returns:
        The copy, whose features differ by rounding alone; or the encoder itself if nothing can be fused.
    """
    if not (isinstance(encoder.transform, ImageTransform) and any(map(_pairs, encoder.modules()))):
        return encoder
    made = copy.deepcopy(encoder)
    num_fused = sum(_fuse_children(module) for module in list(made.modules()))
    images = example(encoder.transform)
    expected, found = encoder(images).pooled, made(images).pooled
    if not torch.linalg.vector_norm(found - expected) <= _TOLERANCE * torch.linalg.vector_norm(expected):
        log.info("%s: its batch normalisations are not fused with its convolutions", encoder.model_name)
        return encoder
    log.debug("%s: %d batch normalisations are fused with convolutions", encoder.model_name, num_fused)
    return made


def _pairs(module: nn.Module) -> list[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """List the children of one module that can be fused, with their names."""
    return [
        (first, convolution, second, norm)
        for (first, convolution), (second, norm) in pairwise(module.named_children())
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    ]


def _fuse_children(module: nn.Module) -> int:
    """Fuse the children of one module; what a normalisation does after it, such as an activation, stays."""
    pairs = _pairs(module)
    for first, convolution, second, norm in pairs:
        setattr(module, first, fuse_conv_bn_eval(convolution, norm))
        setattr(module, second, nn.Sequential(*norm.children()))  # timm's normalisations contain their activation
    return len(pairs)
