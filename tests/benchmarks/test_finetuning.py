"""Steps of encoders are measured beside torch's own."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import timm
import torch

from captioning.benchmarks import finetuning, timing
from captioning.benchmarks.finetuning import NETWORKS
from captioning.training.on_cpu import OnCPU


def test_a_network_is_measured_both_ways_alternately(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that advances by 1, 2, 3, .. seconds per call: our steps take 2 and 6 seconds, torch's 4 and 8.
    ticks = itertools.accumulate(itertools.count(1))
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    own = list[OnCPU]()
    monkeypatch.setattr(finetuning, "OnCPU", lambda: own.append(OnCPU()) or own[-1])
    (row,) = finetuning.bench_encoders(["mobilenetv3_small_050"], num_images=2, size=32, repeat=2)
    assert (row.network, row.images_per_second, row.torch_images_per_second) == ("mobilenetv3_small_050", 2 / 4, 2 / 6)
    assert row.ratio == pytest.approx((4 / 2 + 8 / 6) / 2)
    assert len(own) == 3  # two steps, and one that is not measured


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_have_depthwise_convolutions(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    assert any(isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules())
