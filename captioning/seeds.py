"""Seeds that follow from other numbers, so that no random draw depends on what was drawn before it."""

from __future__ import annotations

import numpy as np


def seed_of(*keys: int) -> int:
    """A seed that depends on all of `keys`, each at least 0."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
