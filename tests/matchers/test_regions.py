"""An image is its whole and its regions, of which training may draw some."""

from __future__ import annotations

import pytest
import torch

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers.regions import Regions


def features(*, masked: bool = False) -> ImageFeatures:
    random = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4]) if masked else None
    return ImageFeatures(torch.randn(2, 3, generator=random), torch.randn(2, 7, 3, generator=random), mask)


@pytest.mark.parametrize("masked", [False, True])
def test_training_draws_different_regions_of_each_batch_and_always_the_whole_image(masked: bool) -> None:
    torch.manual_seed(0)
    regions, given = Regions(3, 5, num_drawn=2), features(masked=masked)
    every = regions.eval()(given)
    assert every.vectors.shape == (2, 8, 5)
    regions.train()
    seen = set()
    for _ in range(60):
        drawn = regions(given)
        assert drawn.vectors.shape == (2, 3, 5)
        assert torch.equal(drawn.vectors[:, 0], every.vectors[:, 0])
        places = [int((every.vectors[0] == v).all(1).nonzero()) for v in drawn.vectors[0, 1:]]
        assert len(set(places)) == 2 and 0 not in places
        for vectors, expected in ((drawn.vectors, every.vectors), (drawn.mask, every.mask)):
            assert (vectors is None) == (expected is None)
            if vectors is not None:
                assert torch.equal(vectors[:, 1:], expected[:, places])
        seen |= set(places)
    assert seen == set(range(1, 8))


@pytest.mark.parametrize("num_drawn", [None, 7, 100])
def test_all_regions_are_there_if_no_fewer_are_asked_for(num_drawn: int | None) -> None:
    assert Regions(3, 5, num_drawn=num_drawn).train()(features()).vectors.shape == (2, 8, 5)


def test_no_region_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="num_drawn=0 must be at least 1"):
        Regions(3, 5, num_drawn=0)
