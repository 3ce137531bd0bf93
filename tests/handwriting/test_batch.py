"""Batches of lines: inputs are the targets, one point later."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence

from captioning.errors import InputError
from captioning.handwriting.batch import collate, one_hot
from captioning.handwriting.font import Line


def line(text: str, num: int) -> Line:
    points = np.random.default_rng(num).normal(size=(num, 3)).astype(np.float32)
    return Line(text, points, np.zeros(num, dtype=np.int64))


def test_inputs_are_the_points_before_the_targets_and_start_at_zero() -> None:
    lines = [line("ab", 3), line("a", 7), line("bab", 5)]
    batch = collate(lines)
    inputs, targets = unpack_sequence(batch.inputs), unpack_sequence(batch.targets)
    for own, read, written in zip(lines, inputs, targets, strict=True):
        assert torch.equal(written, torch.from_numpy(own.points))
        assert torch.equal(read[1:], written[:-1])
        assert not read[0].any()
    assert batch.texts == ("ab", "a", "bab")


def test_characters_are_one_hot_and_nothing_follows_a_text() -> None:
    found = one_hot(["ba", "c"], "abc")
    assert found.tolist() == [[[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]]


def test_a_text_that_the_alphabet_cannot_spell_is_refused() -> None:
    with pytest.raises(InputError, match="bad has 'd'; the network writes only 'ab'"):
        one_hot(["bad"], "ab")
    with pytest.raises(InputError, match="empty"):
        one_hot(["a", ""], "ab")
