"""Regions, whose features come from files."""

from __future__ import annotations

import pytest
import torch

from captioning.encoders import Regions
from captioning.errors import InputError


def test_encoding_an_image_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"regions from the detector vg, .* set data.features=DIR"):
        Regions("vg")(torch.zeros(1, 3, 1, 1))


def test_only_the_same_detector_has_the_same_identity() -> None:
    assert Regions("vg").identity() == Regions("vg").identity()
    assert Regions("vg").identity() != Regions("coco").identity()


@pytest.mark.parametrize("sizes", [{"feature_size": 0}, {"num_regions": 0}])
def test_invalid_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected at least 1"):
        Regions(**sizes)
