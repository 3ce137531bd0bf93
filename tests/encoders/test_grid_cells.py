"""A captioner of regions has the encoder of its aligner, under another identity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captioning.encoders import Blind, GridCells, SmallCNN
from captioning.errors import InputError


def small_cnn(*, grid: bool = True) -> SmallCNN:
    return SmallCNN((8, 8), channels=(8, 8), grid=grid)


def test_the_features_are_the_encoder_s():
    torch.manual_seed(0)
    own, images = small_cnn(), torch.randn(3, 3, 8, 8)
    cells = GridCells(encoder=own).eval()
    with torch.no_grad():
        found, expected = cells(images), own(images)
    assert torch.equal(found.pooled, expected.pooled) and torch.equal(found.grid, expected.grid)
    assert (cells.feature_size, cells.transform) == (own.feature_size, own.transform)


def test_features_of_images_are_not_taken_for_those_of_regions():
    own = small_cnn()
    identity = GridCells(encoder=own).identity()
    assert identity == GridCells(encoder=own).identity()
    assert identity["class"] != own.identity()["class"] and identity["weights"] != own.identity()["weights"]


def test_the_weights_are_those_of_the_encoder_in_a_bundle(tmp_path: Path):
    saved = {f"encoder.{name}": value.contiguous() for name, value in small_cnn().state_dict().items()}
    save_file({**saved, "matcher.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    cells = GridCells(encoder=small_cnn(), weights=str(tmp_path))
    assert all(torch.equal(value, saved[name]) for name, value in cells.state_dict().items())
    first = next(name for name in saved if saved[name].is_floating_point())
    saved[first] = saved[first] * torch.nan
    save_file(saved, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        GridCells(encoder=small_cnn(), weights=str(tmp_path))


def test_an_encoder_without_grid_cells_is_refused():
    for encoder in (small_cnn(grid=False), Blind()):
        with pytest.raises(InputError, match=r"has no grid cells of images; use an aligner .* encoder\.grid=true"):
            GridCells(encoder=encoder)
