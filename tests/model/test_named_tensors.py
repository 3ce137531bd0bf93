"""Features and states as named tensors: nothing is lost, and what has rows is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders.recurrence import RecurrentState
from captioning.encoders.features import ImageFeatures
from captioning.model.named_tensors import (
    feature_tensors,
    features_of,
    state_of,
    state_tensors,
    tensors_with_rows,
)


def test_features_are_put_together_again(features: ImageFeatures) -> None:
    several = replace(features, others=(features, ImageFeatures(features.pooled + 1)))
    tensors = feature_tensors(several)
    assert {"pooled", "grid", "mask", "words", "final.0", "objects.boxes", "others.1.pooled"} <= set(tensors)
    again = feature_tensors(features_of(tensors))
    assert list(again) == list(tensors)
    assert all(again[name] is tensor for name, tensor in tensors.items())


@torch.no_grad()
def test_a_state_of_the_same_tensors_takes_the_same_step(one_decoder: Any, features: ImageFeatures) -> None:
    state, tokens = one_decoder.start(features), torch.tensor([4, 1, 7])
    tensors = [tensor.clone() for tensor in state_tensors(state).values()]
    expected, _ = one_decoder.step(tokens, state)
    found, _ = one_decoder.step(tokens, state_of(state, tensors))
    assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_tensors_with_rows_are_those_that_a_search_repeats(one_decoder: Any, features: ImageFeatures) -> None:
    state = one_decoder.start(features)
    repeated = state_tensors(state.rows(torch.tensor([0, 1, 2, 2, 1])))
    assert tensors_with_rows(state) == {name for name, tensor in repeated.items() if len(tensor) == 5}
    assert not {name for name in tensors_with_rows(state) if name.endswith(("values", "keys", "mask"))}


def test_a_state_of_other_things_than_tensors_is_refused() -> None:
    state: Any = RecurrentState((torch.zeros(2, 3), 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"holds a int as recurrent\.1"):
        state_tensors(state)
