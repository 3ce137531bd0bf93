"""Learning-rate schedules that torch does not have."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Lower the rate to zero along half a cosine, with a linear warm-up in the first steps; stepped after every batch.

    Warm-up: Goyal et al. 2017 (arXiv:1706.02677), section 2.2. Cosine: Loshchilov and Hutter 2017
    (arXiv:1608.03983), equation 5 without restarts.

    Args:
        optimizer: its current rates are the highest.
        num_steps: steps of the whole run.
        warmup_steps: steps of the warm-up; 0 for none.
    """

    def __init__(self, optimizer: Optimizer, *, num_steps: int, warmup_steps: int = 100) -> None:
        def share(step: int) -> float:
            rising = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
            return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))

        super().__init__(optimizer, share)
