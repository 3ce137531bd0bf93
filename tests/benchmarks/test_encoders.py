"""Steps and features of encoders are measured beside torch's own."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import timm
import torch

from captioning.benchmarks import encoders, timing
from captioning.benchmarks.encoders import FROZEN, TRAINED
from captioning.encoders.encoder import Encoder
from captioning.encoders.fused import fused
from captioning.training.on_cpu import OnCPU


def test_a_network_is_measured_both_ways_alternately(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that advances by 1, 2, 3, .. seconds per call: our steps take 2 and 6 seconds, torch's 4 and 8.
    ticks = itertools.accumulate(itertools.count(1))
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    own = list[OnCPU]()
    monkeypatch.setattr(encoders, "OnCPU", lambda: own.append(OnCPU()) or own[-1])
    (row,) = encoders.bench_encoders(["mobilenetv3_small_050"], [], num_images=2, size=32, repeat=2)
    assert (row.network, row.work) == ("mobilenetv3_small_050", "training")
    assert (row.images_per_second, row.torch_images_per_second) == (2 / 4, 2 / 6)
    assert row.ratio == pytest.approx((4 / 2 + 8 / 6) / 2)
    assert len(own) == 3  # two steps, and one that is not measured


@pytest.mark.parametrize("name", TRAINED)
def test_the_trained_networks_have_depthwise_convolutions(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    assert any(isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules())


def test_features_are_those_of_a_fused_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Encoder]()
    monkeypatch.setattr(encoders, "fused", lambda encoder: made.append(fused(encoder)) or made[-1])
    (row,) = encoders.bench_encoders([], ["mobilenetv3_small_050"], num_images=2, size=64, repeat=1)
    assert (row.network, row.work) == ("mobilenetv3_small_050", "features")
    assert row.ratio == pytest.approx(row.images_per_second / row.torch_images_per_second)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in made[0].modules())


@pytest.mark.parametrize("name", FROZEN)
def test_the_frozen_networks_have_normalisations_to_fuse(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
