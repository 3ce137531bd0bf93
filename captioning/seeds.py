"""Derive seeds from other numbers, so that a random draw does not depend on the draws before it."""

from __future__ import annotations

import numpy as np
import torch


def seed_of(*keys: int) -> int:
    """Derive a seed from all `keys`, each at least 0."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_random_numbers(seed: int, device: torch.device) -> None:
    """Seed the random numbers that torch draws on a device.

    torch.manual_seed seeds those of all kinds of devices. A build for GPUs on a machine without any only notes that it
    would, with the stack of calls, which takes longer than the seeding itself.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
