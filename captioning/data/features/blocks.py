"""Digests of an array's rows, a block at a time, so that a part of a large array can be verified alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 2**20
"""The bytes of a block. A row that is larger is a block of its own."""


def rows_per_block(dtype: str, shape: Sequence[int]) -> int:
    """Return how many rows of an array form a block."""
    row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def digest(rows: NDArray[Any]) -> str:
    """Compute the SHA-256 of rows as they lie in the file."""
    return hashlib.sha256(np.ascontiguousarray(rows).ravel().view(np.uint8).data).hexdigest()


def digests(array: NDArray[Any], rows_done: int, known: Sequence[str], known_rows: int) -> list[str]:
    """Compute the digests of the blocks that cover the first rows of an array; the last block may be incomplete.

    Args:
        array: (I, ...).
        rows_done: how many rows are covered.
        known: digests of earlier blocks, of which the complete ones are not computed again.
        known_rows: how many rows these cover.
    """
    size = rows_per_block(str(array.dtype), array.shape)
    complete = known_rows // size
    new = (digest(array[start : min(start + size, rows_done)]) for start in range(complete * size, rows_done, size))
    return [*known[:complete], *new]
