"""Measure encoders as the package computes them on a CPU, beside torch's own: training steps, and features.

Both sides of a ratio are measured alternately.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import timm
import torch
from torch import Tensor

from captioning.benchmarks.timing import Ratio, compare
from captioning.encoders.fused import fused
from captioning.encoders.timm import TimmEncoder
from captioning.memory import keep_freed_memory
from captioning.training.on_cpu import OnCPU

TRAINED = ("tf_efficientnet_lite2", "efficientnet_b0", "mobilenetv3_large_100", "mobilenetv2_100", "convnext_atto")
"""Networks of timm with depthwise convolutions, whose training steps are measured."""
FROZEN = ("tf_efficientnet_lite2", "efficientnet_b0", "mobilenetv3_large_100", "resnet50")
"""Networks of timm with batch normalisations, whose features are measured."""


@dataclass(frozen=True)
class EncoderRow:
    """The speed of one network.

    Attributes:
        network: its name in timm.
        work: "training", a step in bfloat16 with float32 weights: the forward pass, and the gradients of all weights;
            or "features" of a frozen network in float32.
        images_per_second: by the median time.
        torch_images_per_second: the same as torch computes it.
        ratio: the median over the repetitions of torch's time divided by ours; above 1, ours is faster.
        spread: the interquartile range of these ratios.
    """

    network: str
    work: Literal["training", "features"]
    images_per_second: float
    torch_images_per_second: float
    ratio: float
    spread: float


def bench_encoders(
    trained: Sequence[str] = TRAINED,
    frozen: Sequence[str] = FROZEN,
    *,
    num_images: int = 16,
    size: int = 224,
    repeat: int = 5,
) -> list[EncoderRow]:
    """Measure networks with random weights, whose batch normalisations use their averages.

    Args:
        trained: timm's names of the networks whose training steps are measured.
        frozen: those of the networks whose features are measured.
        num_images: images of a batch.
        size: height and width of the images, in pixels.
        repeat: how often each side is measured.
    """
    keep_freed_memory()
    images = torch.randn(num_images, 3, size, size).contiguous(memory_format=torch.channels_last)
    return [
        *(_training(network, images, repeat) for network in trained),
        *(_features(network, images, repeat) for network in frozen),
    ]


def _training(name: str, images: Tensor, repeat: int) -> EncoderRow:
    network = timm.create_model(name, pretrained=False, num_classes=0).eval().to(memory_format=torch.channels_last)

    def step(mode: AbstractContextManager[object]) -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), mode:
            features = network(images)
        features.float().square().mean().backward()

    timed = compare(lambda: step(OnCPU()), lambda: step(nullcontext()), repeat=repeat)
    return _row(name, "training", len(images), timed)


@torch.inference_mode()
def _features(name: str, images: Tensor, repeat: int) -> EncoderRow:
    encoder = TimmEncoder(name, None, mode="squash").eval()
    made = fused(encoder)
    for own in (encoder, made):
        own.to(memory_format=torch.channels_last)
    timed = compare(lambda: made(images), lambda: encoder(images), repeat=repeat)
    return _row(name, "features", len(images), timed)


def _row(name: str, work: Literal["training", "features"], num_images: int, timed: Ratio) -> EncoderRow:
    ours, of_torch = num_images / timed.seconds, num_images / timed.other_seconds
    return EncoderRow(name, work, ours, of_torch, timed.ratio, timed.spread)
