"""An encoder that sees nothing."""

import torch
from PIL import Image

from captioning.encoders import Blind


def test_every_image_is_the_same():
    encoder = Blind().set_trainable(0)
    images = torch.stack([encoder.transform(Image.new("RGB", (5, 7), colour)) for colour in ("red", "blue")])
    assert encoder(images).pooled.tolist() == [[0.0], [0.0]]
    assert encoder.feature_size == 1
    assert encoder.identity()["weights"] == Blind().digest()
