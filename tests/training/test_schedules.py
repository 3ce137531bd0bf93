"""Learning-rate schedules."""

from __future__ import annotations

import math

import pytest
import torch

from captioning.training.schedules import WarmupCosine


def rates(num_steps: int, **settings: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = WarmupCosine(optimizer, num_steps=num_steps, **settings)
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_it_rises_along_a_line_and_falls_along_half_a_cosine():
    found = rates(20, warmup_steps=4)
    cosine = [0.5 * 0.5 * (1 + math.cos(math.pi * t / 20)) for t in range(20)]
    assert found == pytest.approx([0.25 * cosine[0], 0.5 * cosine[1], 0.75 * cosine[2], *cosine[3:]])


def test_it_may_start_at_the_highest_rate():
    assert rates(10, warmup_steps=0)[0] == 0.5
    assert rates(10, warmup_steps=0)[5] == pytest.approx(0.25)
