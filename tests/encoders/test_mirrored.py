"""An encoder that also reads the mirror image."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders import Blind, GridCells, Regions, SeveralEncoders, SmallCNN, WithMirrored
from captioning.errors import InputError

IMAGES = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def small(*, grid: bool = True, width: int = 8) -> SmallCNN:
    torch.manual_seed(width)
    return SmallCNN((16, 24), channels=(8, width), grid=grid).eval()


def test_pooled_features_are_the_mean_and_the_grid_has_the_cells_of_both() -> None:
    encoder = small()
    own, other, found = encoder(IMAGES), encoder(IMAGES.flip(3)), WithMirrored(encoder=encoder)(IMAGES)
    assert_close(found.pooled, (own.pooled + other.pooled) / 2)
    assert_close(found.layers, (own.layers + other.layers) / 2)
    assert_close(found.grid, torch.cat([own.grid, other.grid], 1))
    assert WithMirrored(encoder=small(grid=False))(IMAGES).grid is None


def test_an_image_and_its_mirror_image_have_the_same_pooled_features_and_cells() -> None:
    encoder = WithMirrored(encoder=small())
    one, other = encoder(IMAGES), encoder(IMAGES.flip(3))
    assert_close(one.pooled, other.pooled)
    first, second = one.grid.chunk(2, dim=1)
    assert_close(other.grid, torch.cat([second, first], 1))


def test_the_weights_of_a_place_are_added() -> None:
    rows, columns = 2, 3
    own, mirrored = torch.rand(5, rows, columns), torch.rand(5, rows, columns)
    weights = torch.cat([own.flatten(1), mirrored.flatten(1)], 1)
    found = WithMirrored(encoder=small()).unmirrored(weights, columns)
    expected = torch.stack([own[:, r, c] + mirrored[:, r, -1 - c] for r in range(rows) for c in range(columns)], 1)
    assert_close(found, expected)


def test_the_features_of_several_encoders_are_mirrored_each() -> None:
    both = SeveralEncoders(encoders=[small(), small(grid=False, width=16)])
    encoder = WithMirrored(encoder=both)
    assert encoder.feature_sizes == both.feature_sizes
    (found,), (own,), (other,) = (f.others for f in (encoder(IMAGES), both(IMAGES), both(IMAGES.flip(3))))
    assert_close(found.pooled, (own.pooled + other.pooled) / 2)
    with pytest.raises(InputError, match="already those of several encoders"):
        SeveralEncoders(encoders=[encoder, small()])


def test_the_identity_differs_from_that_of_the_encoder() -> None:
    encoder = small()
    own, found = encoder.identity(), WithMirrored(encoder=encoder).identity()
    assert own != found
    assert found == WithMirrored(encoder=small()).identity()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Blind, "Blind reads nothing; only images have a mirror image"),
        (Regions, "Regions reads features; only images"),
        (lambda: WithMirrored(encoder=small()), "that are not mirrored already"),
        (lambda: GridCells(encoder=small()), "cells of .* expected an encoder of whole images"),
    ],
)
def test_what_has_no_mirror_image_is_refused(make, message) -> None:
    with pytest.raises(InputError, match=message):
        WithMirrored(encoder=make())
