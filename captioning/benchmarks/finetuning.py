"""Measure the training steps of encoders: with what a CPU computes in another way, and as torch computes them.

Both sides of a ratio are measured alternately.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import timm
import torch

from captioning.benchmarks.timing import compare
from captioning.memory import keep_freed_memory
from captioning.training.on_cpu import OnCPU

NETWORKS = ("tf_efficientnet_lite2", "efficientnet_b0", "mobilenetv3_large_100", "mobilenetv2_100", "convnext_atto")
"""Networks of timm with depthwise convolutions."""


@dataclass(frozen=True)
class EncoderRow:
    """The speed of one network's training, in bfloat16 with float32 weights.

    Attributes:
        network: its name in timm.
        images_per_second: by the median time of a step: the forward pass, and the gradients of all weights.
        torch_images_per_second: the same as torch computes it.
        ratio: the median over the repetitions of torch's time divided by ours; above 1, ours is faster.
        spread: the interquartile range of these ratios.
    """

    network: str
    images_per_second: float
    torch_images_per_second: float
    ratio: float
    spread: float


def bench_encoders(
    networks: Sequence[str] = NETWORKS, *, num_images: int = 16, size: int = 224, repeat: int = 5
) -> list[EncoderRow]:
    """Measure steps of networks with random weights, whose batch normalisations use their averages.

    Args:
        networks: timm's names.
        num_images: images of a batch.
        size: height and width of the images, in pixels.
        repeat: how often each step is measured.
    """
    keep_freed_memory()
    return [_row(network, num_images, size, repeat) for network in networks]


def _row(name: str, num_images: int, size: int, repeat: int) -> EncoderRow:
    network = timm.create_model(name, pretrained=False, num_classes=0).eval().to(memory_format=torch.channels_last)
    images = torch.randn(num_images, 3, size, size).contiguous(memory_format=torch.channels_last)

    def step(mode: AbstractContextManager[object]) -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), mode:
            features = network(images)
        features.float().square().mean().backward()

    timed = compare(lambda: step(OnCPU()), lambda: step(nullcontext()), repeat=repeat)
    return EncoderRow(name, num_images / timed.seconds, num_images / timed.other_seconds, timed.ratio, timed.spread)
