"""Batch normalisation over the images of all processes; `tests/test_distributed.py` starts such processes."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.encoders import SmallCNN, batch_norm
from captioning.encoders.batch_norm import SyncedBatchNorm, count_images, synchronise


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("several", [False, True])
def test_it_computes_what_torch_does(pixels, several, monkeypatch):
    if several:  # of which this one has all images
        monkeypatch.setattr(batch_norm, "several_processes", lambda: True)
        monkeypatch.setattr(batch_norm, "sum_over_processes", lambda values: values.detach().clone())
    torch.manual_seed(0)
    expected = nn.BatchNorm2d(3).double()
    nn.init.uniform_(expected.weight)
    nn.init.uniform_(expected.bias)
    synced = SyncedBatchNorm(deepcopy(expected))
    for scale in (1.0, 3.0):
        both = [pixels.double().mul(scale).requires_grad_() for _ in range(2)]
        for norm, x in zip((expected, synced), both, strict=True):
            norm(x).square().mul(x).sum().backward()
        assert_close(both[1].grad, both[0].grad)
    assert_close([p.grad for p in synced.parameters()], [p.grad for p in expected.parameters()])
    assert_close(synced.state_dict(), expected.state_dict())
    assert_close(synced.eval()(pixels.double()), expected.eval()(pixels.double()))


def test_gradients_come_from_the_losses_of_all_processes(pixels, monkeypatch):
    # Two processes with the same images are one with each image twice.
    monkeypatch.setattr(batch_norm, "several_processes", lambda: True)
    monkeypatch.setattr(batch_norm, "sum_over_processes", lambda values: 2 * values.detach())
    torch.manual_seed(0)
    expected = nn.BatchNorm2d(3).double()
    synced = SyncedBatchNorm(deepcopy(expected))
    alone, x = (pixels.double().requires_grad_() for _ in range(2))
    twice = torch.cat([alone, alone.detach()])
    (expected(twice).square() * twice.detach().sin()).sum().backward()
    (synced(x).square() * x.detach().sin()).sum().backward()
    assert_close(x.grad, alone.grad)
    assert_close(synced.state_dict(), expected.state_dict())


def test_images_that_do_not_count_are_normalised_by_those_that_do(pixels, monkeypatch):
    monkeypatch.setattr(batch_norm, "several_processes", lambda: True)
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3).double()
    x, others = pixels[:2].double().requires_grad_(), pixels[2:].double()
    number, mean = others.numel() / 3, others.mean((0, 2, 3))
    squares = (others - mean[:, None, None]).square().sum((0, 2, 3))
    of_others = iter([torch.tensor(number).double(), number * mean, squares])
    monkeypatch.setattr(batch_norm, "sum_over_processes", lambda values: values.detach() + next(of_others))
    synced = SyncedBatchNorm(deepcopy(layer))
    count_images(synced, False)
    got = synced(x)
    layer(others)
    assert_close(synced.state_dict(), layer.state_dict())
    variance = others.var((0, 2, 3), correction=0)[:, None, None]
    assert_close(got, (x - mean[:, None, None]) / (variance + 1e-5).sqrt())


def test_layers_are_replaced_with_their_weights_and_names(pixels):
    torch.manual_seed(0)
    encoder = SmallCNN((16, 16), channels=(8, 16)).eval()
    before, names, parameters = encoder(pixels).pooled, list(encoder.state_dict()), list(encoder.parameters())
    assert synchronise(encoder) == 0
    assert sum(isinstance(m, SyncedBatchNorm) for m in encoder.modules()) == 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    assert list(encoder.state_dict()) == names
    assert all(a is b for a, b in zip(encoder.parameters(), parameters, strict=True))
    assert torch.equal(encoder(pixels).pooled, before)


def test_layers_that_cannot_be_replaced_are_counted():
    class Other(nn.BatchNorm2d):
        pass

    assert synchronise(nn.Sequential(Other(3), nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3))) == 2
