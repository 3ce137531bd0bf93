"""Several encoders as one; `tests/model/test_ensemble.py` has their use by ensembles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.encoders import Blind, Regions, SeveralEncoders, SmallCNN
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


def two() -> list[SmallCNN]:
    torch.manual_seed(0)
    return [SmallCNN((16, 16), channels=(8, 8)).eval(), SmallCNN((16, 16), channels=(8, 16), grid=True).eval()]


def test_the_features_are_those_of_each_encoder_in_order() -> None:
    first, second = two()
    images = torch.randn(3, 3, 16, 16)
    both = SeveralEncoders(encoders=[first, second])
    assert both.feature_sizes == (first.feature_size, second.feature_size)
    assert (both.grid, both.feature_size, both.transform) == (True, first.feature_size, first.transform)
    features = both(images)
    assert features.pooled.equal(first(images).pooled)
    assert features.grid is None
    (other,) = features.others
    assert other.pooled.equal(second(images).pooled)
    assert other.grid.equal(second(images).grid)


def test_rows_devices_and_dtypes_change_the_features_of_all_encoders() -> None:
    features = ImageFeatures(torch.randn(3, 5), others=(ImageFeatures(torch.randn(3, 7), torch.randn(3, 2, 7)),))
    index = torch.tensor([2, 0])
    picked = features.rows(index).cast(torch.float64)
    assert picked.others[0].pooled.equal(features.others[0].pooled[index].double())
    assert picked.others[0].grid.equal(features.others[0].grid[index].double())
    assert picked.to("cpu").others[0].pooled.equal(picked.others[0].pooled)


def test_the_identity_is_that_of_all_weights() -> None:
    first, second = two()
    before = SeveralEncoders(encoders=[first, second]).identity()
    assert before == SeveralEncoders(encoders=two()).identity()
    second.pool.bias.data[0] += 1
    assert before != SeveralEncoders(encoders=[first, second]).identity()


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        (lambda: two()[:1], "at least two encoders, found 1"),
        (lambda: [*two(), Blind()], "read images and nothing"),
        (lambda: [Regions(), Regions()], "read features; an ensemble's encoders read images, or sentences"),
        (lambda: [SeveralEncoders(encoders=two()), *two()], "already those of several encoders"),
        (lambda: [two()[0], SmallCNN((16, 24), channels=(8, 8))], r"size \(16, 16\) and \(16, 24\)"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(encoders, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SeveralEncoders(encoders=encoders())


def test_transforms_differ_in_colours_alone() -> None:
    first, second = two()
    own = first.transform.to_dict()
    other = replace(first.transform, mean=(0.1, 0.2, 0.3)).to_dict()
    images = torch.randn(2, 3, 16, 16)
    converted = SeveralEncoders(encoders=[first, second], transforms=[own, other])(images)
    pixels = images * 0.5 + 0.5
    expected = second((pixels - torch.tensor([0.1, 0.2, 0.3]).view(-1, 1, 1)) / 0.5)
    assert converted.others[0].pooled.allclose(expected.pooled, atol=1e-5)
    with pytest.raises(InputError, match="interpolation"):
        SeveralEncoders(encoders=[first, second], transforms=[own, {**own, "interpolation": "bicubic"}])
