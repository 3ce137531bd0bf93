"""Seeds, and seeding torch."""

from __future__ import annotations

import pytest
import torch

from captioning.seeds import seed_of, seed_random_numbers


def test_seeds_differ_with_each_key_and_its_place() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2**63, 5)]
    assert len({seed_of(*own) for own in keys}) == len(keys)
    assert all(0 <= seed_of(*own) < 2**63 for own in keys)
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)


def test_a_cpu_draws_what_it_draws_after_torch_s_own_seeding() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4), torch.randint(9, (4,))
    torch.rand(3)
    seed_random_numbers(5, torch.device("cpu"))
    assert torch.rand(4).equal(expected[0])
    assert torch.randint(9, (4,)).equal(expected[1])


def test_other_devices_are_seeded_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    seed_random_numbers(7, torch.device("cuda"))
    seed_random_numbers(8, torch.device("cpu"))
    assert seeds == [7]
