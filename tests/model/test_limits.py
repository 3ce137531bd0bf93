"""A bundle cannot make its reader build a model that is larger than its weights' file."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from captioning.decoders import ShowAndTell, ShowAttendAndTell, Soft
from captioning.encoders import SmallCNN, TimmEncoder
from captioning.errors import InputError
from captioning.model.limits import check_arguments, check_file_sizes, check_numbers, no_larger_than
from captioning.recurrent import LSTM, Bidirectional
from captioning.search import BeamSearch, Forbid


def test_a_module_of_the_size_of_its_file_is_built() -> None:
    shapes = [p.shape for p in nn.LSTM(300, 500, num_layers=2).parameters()]
    with no_larger_than(shapes, spare=0):
        nn.LSTM(300, 500, num_layers=2)


@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(30_000, 30_000), lambda: nn.LSTM(7, 20_000), lambda: nn.Embedding(10**7, 100)]
)
def test_a_larger_module_is_refused_before_its_memory_is_used(build: Any) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=r"far more weights than .* 6 in 1 tensors"), no_larger_than([(2, 3)]):
        build()
    assert time.process_time() - started < 1  # to fill a gigabyte takes longer


def test_endlessly_many_layers_are_refused() -> None:
    with pytest.raises(InputError, match="far more weights"), no_larger_than([(2, 3)]):
        nn.ModuleList(LSTM(1, 1) for _ in range(10**9))


def test_the_limit_ends_with_its_block() -> None:
    with pytest.raises(ValueError, match="mine"), no_larger_than([]):
        raise ValueError("mine")
    nn.Linear(2000, 2000)


@pytest.mark.parametrize("value", [10**8, -(10**8), 2**63, 10**400, math.nan, math.inf, 1e300])
def test_numbers_that_no_model_has_are_refused_at_any_depth(value: float) -> None:
    check_numbers({"a": [1, 0.5, True, None, "x", 10_000_000]}, "x")
    with pytest.raises(InputError, match=r"^x: found the number .*, expected at most 10,000,000"):
        check_numbers({"a": [{"b": [value]}]}, "x")


@pytest.mark.parametrize(
    ("cls", "arguments", "complaint"),
    [
        (BeamSearch, {"beam_size": 2.5}, "beam_size=2.5: Expected `int`, got `float`"),
        (BeamSearch, {"beam_size": True}, "beam_size=True: Expected `int`, got `bool`"),
        (BeamSearch, {"allow_unknown": 1}, "allow_unknown=1: Expected `bool`"),
        (BeamSearch, {"length_normalization": "1"}, "length_normalization='1': Expected `float`"),
        (Forbid, {"ids": [1, "2"]}, "Expected `int`, got `str`"),
        (ShowAndTell, {"hidden_size": None}, "hidden_size=None: Expected `int`, got `null`"),
        (SmallCNN, {"size": [5, "x" * 1000]}, "Expected `int`, got `str`"),
        (TimmEncoder, {"size": "224"}, "Expected `int | null`, got `str`"),
        (BeamSearch, {"processors": [{}]}, "={}: expected a part, with the name of its class as _target_"),
        (ShowAndTell, {"recurrent": 3}, "recurrent=3: expected a part"),
        (ShowAttendAndTell, {"phi": {"_partial_": True}}, "expected a part"),
        (ShowAttendAndTell, {"phi": LSTM(3, 5)}, "phi: expected a Phi, found a LSTM without 'samples'"),
        (Bidirectional, {"combine": "product"}, "Invalid enum value 'product'"),
    ],
)
def test_arguments_of_other_types_are_refused(cls: type, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        check_arguments(cls, arguments)
    assert complaint in str(raised.value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (BeamSearch, {"beam_size": 3, "length_normalization": 1, "processors": [Forbid([1])]}),
        (ShowAndTell, {"recurrent": LSTM, "unknown": 7}),
        (TimmEncoder, {"size": None}),
        (ShowAttendAndTell, {"phi": Soft()}),
    ],
)
def test_right_types_and_parts_pass(cls: type, arguments: dict[str, Any]) -> None:
    check_arguments(cls, arguments)


def test_a_large_json_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(InputError, match=r"config\.json has 33 MiB, expected at most 32"):
        check_file_sizes(tmp_path, ["config.json"])
