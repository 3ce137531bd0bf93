"""A captioner that reads each image and its mirror image."""

from __future__ import annotations

import logging

import pytest
import torch

from captioning.model.captioner import Captioner
from captioning.model.load import load_model
from captioning.model.mirrored import also_mirrored


def test_the_weights_are_shared_and_the_calibration_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    model = load_model("flickr8k")
    assert isinstance(model, Captioner)
    assert model.confidences is not None
    with caplog.at_level(logging.WARNING):
        mirrored = also_mirrored(model)
    assert "calibrated without mirror images; use captioning calibrate" in caplog.text
    assert mirrored.confidences is None
    assert {w.data_ptr() for w in mirrored.parameters()} == {w.data_ptr() for w in model.parameters()}
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert mirrored.encode(image).grid.shape == (1, 98, 1280)  # type: ignore[union-attr]
    assert mirrored.decode(image)[0].text == mirrored.decode(image.flip(3))[0].text
