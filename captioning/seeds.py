"""Derive seeds from other numbers, so that a random draw does not depend on the draws before it."""

from __future__ import annotations

import numpy as np


def seed_of(*keys: int) -> int:
    """Derive a seed from all `keys`, each at least 0."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
