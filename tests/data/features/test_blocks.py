"""Blocks of rows have digests that cover each row once."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from captioning.data.features import blocks


def test_a_block_is_about_a_megabyte_of_whole_rows() -> None:
    assert blocks.rows_per_block("float16", (7, 2048)) == 256
    assert blocks.rows_per_block("bool", (7, 13)) == 2**20 // 13
    assert blocks.rows_per_block("float32", (7, 196, 2048)) == 1  # a row of 1.6 MB


@pytest.mark.parametrize(
    ("known_rows", "rows_done"), [(k, n) for n in (0, 1, 2, 5, 7) for k in (0, 1, 2, 3, 7) if k <= n]
)
def test_digests_are_those_of_the_rows_bytes(known_rows: int, rows_done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 25)  # two rows
    array = np.arange(21, dtype=np.float32).reshape(7, 3)
    known = blocks.digests(array, known_rows, (), 0)
    expected = [hashlib.sha256(array[n : min(n + 2, rows_done)].tobytes()).hexdigest() for n in range(0, rows_done, 2)]
    assert blocks.digests(array, rows_done, known, known_rows) == expected
