"""Convolutions are fused with their batch normalisations, without a change of features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captioning.encoders import Blind, TimmEncoder, TorchvisionEncoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.fused import fused
from captioning.encoders.transform import ImageTransform


def with_statistics(encoder: Encoder) -> Encoder:
    """Give every normalisation its own mean and deviation."""
    torch.manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return encoder.eval()


@pytest.mark.parametrize("model", ["tf_efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize("grid", [False, True])
def test_features_stay_the_same(model: str, grid: bool) -> None:
    build = TorchvisionEncoder if model == "resnet18" else TimmEncoder
    encoder = with_statistics(build(model, None, grid=grid))
    images, made = torch.randn(2, 3, 64, 64), fused(encoder)
    with torch.inference_mode():
        expected, found = encoder(images), made(images)
    torch.testing.assert_close(found.pooled, expected.pooled, rtol=1e-3, atol=1e-4)
    if grid:
        torch.testing.assert_close(found.grid, expected.grid, rtol=1e-3, atol=1e-4)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in encoder.modules()) > 10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())


class Backwards(Encoder):
    """Applies its children in another order than their own."""

    def __init__(self) -> None:
        super().__init__("backwards", grid=False, transform=ImageTransform((4, 4), mode="squash"))
        self.convolution, self.norm, self.feature_size = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), 3

    def forward(self, images: Tensor) -> ImageFeatures:
        return ImageFeatures(self.convolution(self.norm(images)).mean((2, 3)))


def test_a_network_whose_layers_have_another_order_stays_as_it_is() -> None:
    encoder = with_statistics(Backwards())
    assert fused(encoder) is encoder


def test_a_network_without_pairs_stays_as_it_is() -> None:
    encoder = Blind().eval()
    assert fused(encoder) is encoder
