from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.model.quantised import SCALE, dequantised, quantised


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**31), st.floats(-8, 8))
def test_a_weight_moves_by_at_most_half_a_step_of_its_row(rows: int, columns: int, seed: int, exponent: float) -> None:
    w = torch.randn(rows, columns, 3, generator=torch.Generator().manual_seed(seed)) * 10**exponent
    step = w.flatten(1).abs().amax(1) / 127
    found = dequantised(quantised({"w": w}), "a file")["w"]
    assert ((found - w).flatten(1).abs() <= step[:, None] * 0.50001).all()


def test_only_matrices_are_stored_in_8_bits() -> None:
    weights = {"w": torch.randn(3, 5), "b": torch.randn(3), "n": torch.tensor(7), "ids": torch.arange(6).view(2, 3)}
    stored = quantised(weights)
    assert {name: value.dtype for name, value in stored.items()} == {
        **{"w": torch.int8, "w" + SCALE: torch.float32, "b": torch.float32, "n": torch.int64, "ids": torch.int64}
    }
    found = dequantised(stored, "a file")
    assert found.keys() == weights.keys()
    for name in ("b", "n", "ids"):
        assert_close(found[name], weights[name], rtol=0, atol=0)


def test_the_largest_weight_of_a_row_is_exact_and_zeros_stay_zeros() -> None:
    found = dequantised(quantised({"w": torch.tensor([[0.0, 0.0], [-2.54, 1.0]])}), "a file")["w"]
    assert_close(found, torch.tensor([[0.0, 0.0], [-2.54, 1.0]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("other" + SCALE, torch.ones(2)),
        ("b" + SCALE, torch.ones(2)),
        ("w" + SCALE, torch.ones(3)),
        ("w" + SCALE, torch.ones(2, 1)),
        ("w" + SCALE, torch.ones(2, dtype=torch.float64)),
    ],
)
def test_scales_that_fit_no_weight_are_refused(name: str, scale: torch.Tensor) -> None:
    stored = {"w": torch.ones(2, 3, dtype=torch.int8), "b": torch.ones(2, dtype=torch.int8), name: scale}
    with pytest.raises(InputError, match=f"FILE: {name} fits no int8 weight"):
        dequantised(stored, "FILE")
