"""The probability of the true word, in the three forms of Bengio et al. 2015."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.objectives import Decay, Exponential, InverseSigmoid, Linear


def test_each_form_equals_its_formula() -> None:
    assert [Linear(k=0.9, c=0.25, least=0.3)(i) for i in range(4)] == pytest.approx([0.9, 0.65, 0.4, 0.3])
    assert [Exponential(k=0.5)(i) for i in range(4)] == [1, 0.5, 0.25, 0.125]
    expected = [100 / (100 + math.exp(i / 100)) for i in range(0, 2000, 100)]
    assert [InverseSigmoid(k=100)(i) for i in range(0, 2000, 100)] == pytest.approx(expected, rel=1e-12)


@given(st.sampled_from([Linear(), Exponential(k=0.999), InverseSigmoid(k=1), InverseSigmoid(k=3000)]),
       st.integers(0, 10**9))  # fmt: skip
def test_a_probability_never_rises_and_stays_one(decay: Decay, i: int) -> None:
    assert 0 <= decay(i + 1) <= decay(i) <= 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linear(least=1.5), r"least=1\.5 must be in 0\.\.1"),
        (lambda: Linear(c=-1), "c=-1 at least 0"),
        (lambda: Linear(k=math.nan), "k=nan"),
        (lambda: Exponential(k=1.1), r"k=1\.1 must be in 0\.\.1"),
        (lambda: InverseSigmoid(k=0.5), r"k=0\.5 must be a number of at least 1"),
        (lambda: InverseSigmoid(k=math.inf), "k=inf must be a number"),
    ],
)
def test_settings_out_of_range_are_refused(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
