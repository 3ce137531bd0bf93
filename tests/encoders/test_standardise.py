import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError


def test_unfitted_is_the_identity():
    features = ImageFeatures(torch.randn(2, 3), torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool))
    result = Standardise(3)(features)
    assert torch.equal(result.pooled, features.pooled)
    assert torch.equal(result.grid, features.grid)
    assert result.mask is features.mask
    assert Standardise(3)(ImageFeatures(features.pooled)).grid is None


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any), seed=st.integers(0, 99))
def test_statistics_do_not_depend_on_the_batches(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(sum(sizes), 3, generator=generator) * 5 + 100
    grid = torch.randn(sum(sizes), 7, 3, generator=generator)
    batches = [ImageFeatures(p, g) for p, g in zip(pooled.split(sizes), grid.split(sizes), strict=True)]
    scaled = Standardise(3)
    scaled.fit(batches)
    cells = grid.flatten(0, 1).double()
    torch.testing.assert_close(scaled.mean, pooled.double().mean(0).float())
    torch.testing.assert_close(scaled.grid_mean, cells.mean(0).float(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(scaled.grid_std, cells.std(0, unbiased=False).float())
    if sum(sizes) > 1:
        torch.testing.assert_close(scaled.std, pooled.double().std(0, unbiased=False).float())


def test_fitted_features_have_mean_0_and_deviation_1():
    features = ImageFeatures(torch.randn(50, 3) * 4 + 9, torch.randn(50, 7, 3) * 2 - 5)
    scaled = Standardise(3)
    scaled.fit([features])
    result = scaled(features)
    for rows in (result.pooled, result.grid.flatten(0, 1)):
        torch.testing.assert_close(rows.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows.std(0, unbiased=False), torch.ones(3))


def test_small_deviation_on_a_large_mean_is_not_lost():
    # In float32, the mean of squares less the square of the mean would be noise: 1e8 has steps of 8.
    pooled = torch.tensor([[9999.0], [10001.0]]).repeat(1000, 1)
    scaled = Standardise(1)
    scaled.fit(ImageFeatures(rows) for rows in pooled.split(7))
    torch.testing.assert_close(scaled.std, torch.ones(1), rtol=1e-6, atol=0)


def test_masked_regions_do_not_count():
    grid, mask = torch.randn(4, 5, 3), torch.rand(4, 5) < 0.5
    mask[0] = True
    padded, clean = Standardise(3), Standardise(3)
    padded.fit([ImageFeatures(torch.randn(4, 3), grid.masked_fill(~mask[..., None], 1e6), mask)])
    clean.fit([ImageFeatures(torch.randn(1, 3), grid[mask][None])])
    torch.testing.assert_close(padded.grid_mean, clean.grid_mean)
    torch.testing.assert_close(padded.grid_std, clean.grid_std)


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_constant_channel_is_centred_and_reported(value, caplog):
    pooled = torch.randn(31, 2)
    pooled[:, 1] = value
    scaled = Standardise(2)
    with caplog.at_level(logging.WARNING):
        scaled.fit(ImageFeatures(rows) for rows in pooled.split(4))
    assert scaled.std[1] == 1
    assert scaled(ImageFeatures(pooled)).pooled[:, 1].abs().max() == 0
    assert "1 of 2 pooled channels are constant" in caplog.text


def test_statistics_are_saved_in_the_state_dict_and_not_trained():
    scaled, other = Standardise(3), Standardise(3)
    scaled.fit([ImageFeatures(torch.randn(9, 3), torch.randn(9, 2, 3))])
    other.load_state_dict(scaled.state_dict())
    features = ImageFeatures(torch.randn(2, 3), torch.randn(2, 2, 3))
    assert torch.equal(other(features).pooled, scaled(features).pooled)
    assert torch.equal(other(features).grid, scaled(features).grid)
    assert list(scaled.parameters()) == []


def test_nothing_to_fit_is_refused():
    with pytest.raises(InputError, match="the training split has no images"):
        Standardise(3).fit([])


def test_values_that_are_not_finite_are_refused():
    pooled = torch.zeros(4, 3)
    pooled[1, 0], pooled[3, 2] = float("nan"), float("inf")
    with pytest.raises(InputError, match="2 of 4 rows of a batch are not finite"):
        Standardise(3).fit([ImageFeatures(pooled)])


def test_channels_get_the_requested_deviation():
    random = torch.Generator().manual_seed(0)
    features = ImageFeatures(
        5 * torch.randn(50, 3, generator=random) + 7, torch.randn(50, 7, 3, generator=random), None
    )
    standardise = Standardise(3, deviation=0.2)
    standardise.fit([features])
    scaled = standardise(features)
    for rows in (scaled.pooled, scaled.grid.flatten(0, 1)):
        torch.testing.assert_close(rows.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(rows.std(0, unbiased=False), torch.full((3,), 0.2))
