"""The features of other images, as buffers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import Distractors
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.model.limits import no_larger_than

POOLED = ImageFeatures(torch.randn(3, 5, generator=torch.Generator().manual_seed(1)))
REGIONS = ImageFeatures(
    torch.randn(2, 5),
    grid=torch.randn(2, 7, 5),
    mask=torch.tensor([[True] * 7, [True] * 3 + [False] * 4]),
    words=torch.rand(2, 11),
)


@pytest.mark.parametrize("features", [POOLED, REGIONS])
def test_features_come_back_image_by_image_from_the_weights_of_another_module(features: ImageFeatures) -> None:
    made = Distractors.of(features)
    other = Distractors(**made.sizes)
    other.load_state_dict(made.state_dict())
    found = other.each(torch.zeros(1))
    assert [len(one) for one in found] == [1] * len(features)
    for number, one in enumerate(found):
        for name, value in vars(features.rows(torch.tensor([number]))).items():
            assert_close(getattr(one, name), value)


def test_batches_are_joined_and_an_empty_one_counts_for_nothing() -> None:
    none, last = torch.zeros(0, dtype=torch.int64), torch.tensor([2])
    made = Distractors.of(POOLED.rows(none), POOLED.rows(torch.tensor([0, 1])), POOLED.rows(last))
    assert made.pooled.equal(POOLED.pooled)


def test_the_features_are_copies_and_are_converted_to_the_images_precision() -> None:
    features = ImageFeatures(torch.ones(1, 5), torch.ones(1, 2, 5), torch.tensor([[True, False]]))
    made = Distractors.of(features)
    features.pooled.zero_()
    (found,) = made.each(torch.zeros(1, dtype=torch.bfloat16))
    assert found.grid is not None and found.mask is not None
    assert (found.pooled.dtype, found.grid.dtype, found.mask.dtype) == (torch.bfloat16, torch.bfloat16, torch.bool)
    assert found.pooled.eq(1).all()


def test_limits_apply_before_memory_is_taken() -> None:
    with pytest.raises(InputError, match="far more weights"), no_larger_than([[2, 5]]):
        Distractors(num_images=10_000_000, num_regions=10_000_000, feature_size=10_000_000)


def test_sizes_and_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="num_words=0 must be at least 1"):
        Distractors(num_images=1, feature_size=5, num_words=0)
    with pytest.raises(InputError, match="masked=true needs num_regions"):
        Distractors(num_images=1, feature_size=5, masked=True)
    with pytest.raises(InputError, match="at least one other image, found none"):
        Distractors.of()
    objects = Objects(torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1, 4), torch.ones(3, 1, dtype=torch.bool))
    for features in (
        replace(POOLED, others=(POOLED,)),
        replace(POOLED, objects=objects),
        replace(POOLED, final=(torch.zeros(3, 1, 5),)),
    ):
        with pytest.raises(InputError, match="features of one encoder, without objects"):
            Distractors.of(features)
