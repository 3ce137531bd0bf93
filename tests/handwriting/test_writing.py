"""Lines are written point by point, each until it has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.handwriting.mixture import Mixture, output_size
from captioning.handwriting.prediction import Prediction
from captioning.handwriting.writing import write


@dataclass(frozen=True)
class Count:
    """A row ends when it has been asked for as many points as `until` says."""

    until: Tensor
    seen: tuple[Tensor, ...] = ()

    @property
    def finished(self) -> Tensor:
        return self.until < len(self.seen)


class Fixed:
    """Predicts one Gaussian around what it has read plus one."""

    def step(self, points: Tensor, state: Count) -> tuple[Mixture, Count]:
        outputs = torch.zeros(len(points), output_size(1))
        outputs[:, 3:5], outputs[:, 5:] = points[:, :2] + 1, -20.0
        return Mixture.of(outputs), replace(state, seen=(*state.seen, points))


def test_each_point_is_read_before_the_next_is_drawn_and_each_line_ends_by_itself() -> None:
    lines = write(Fixed(), Count(torch.tensor([2, 5, 0])), max_points=9, seed=0)
    assert [len(line) for line in lines] == [2, 5, 0]
    assert_close(lines[1][:, 0], torch.arange(1.0, 6.0))  # from 0, each one further


def test_a_line_that_does_not_end_is_truncated() -> None:
    torch.manual_seed(0)
    network = Prediction(hidden_size=5, num_layers=1, num_mixtures=2)
    lines = write(network, network.start(3), max_points=7, seed=0)
    assert [tuple(line.shape) for line in lines] == [(7, 3)] * 3


def test_a_seed_repeats_lines_and_a_bias_makes_them_alike() -> None:
    torch.manual_seed(0)
    network = Prediction(hidden_size=5, num_layers=1, num_mixtures=2)

    def lines(**settings: float) -> Tensor:
        return torch.stack(write(network, network.start(20), max_points=3, **settings))[:, 0, :2]

    assert torch.equal(lines(seed=1), lines(seed=1))
    assert not torch.equal(lines(seed=1), lines(seed=2))
    assert lines(seed=1, bias=3.0).std(0).max() < 0.5 * lines(seed=1).std(0).min()


def test_settings_that_are_not_possible_are_refused() -> None:
    with pytest.raises(InputError, match="max_points=0"):
        write(Fixed(), Count(torch.tensor([2])), max_points=0, seed=0)
    with pytest.raises(InputError, match="bias=-1"):
        write(Fixed(), Count(torch.tensor([2])), bias=-1, max_points=3, seed=0)
