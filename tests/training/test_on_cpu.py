"""What training computes in another way on a CPU equals what torch computes, with all gradients."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from captioning.benchmarks.training import DECODERS, Case, Sizes, batch_of
from captioning.encoders.features import ImageFeatures
from captioning.objectives import chunks
from captioning.objectives.cross_entropy import mean_cross_entropy
from captioning.training import on_cpu
from captioning.training.on_cpu import OnCPU

EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(autouse=True)
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let layers of all sizes count as large."""
    monkeypatch.setattr(on_cpu, "_SMALLEST", 0)


class Loop(nn.Module):
    """A recurrence whose layer has a bias, over T = 3 steps of B = 2 rows; one layer also reads all steps at once."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.from_input, self.recurrence = nn.Linear(5, 7, bias=False, dtype=dtype), nn.Linear(7, 7, dtype=dtype)
        self.x = torch.randn(3, 2, 5, dtype=dtype, requires_grad=True)

    def forward(self) -> Tensor:
        h, outputs = self.x.new_zeros(2, 7), []
        for x in self.from_input(self.x):
            h = torch.tanh(x + self.recurrence(h))
            outputs.append(h)
        return (self.recurrence(torch.stack(outputs)) ** 2).sum()


def gradients(loop: Loop, loss: Tensor, *, retain_graph: bool = False) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [loop.x, *loop.parameters()], retain_graph=retain_graph))


def test_gradients_of_a_layer_in_a_loop_are_those_of_torch() -> None:
    loop = Loop()
    expected = loop()
    with OnCPU():
        loss = loop()
    assert_close(loss, expected, **EXACT)
    assert_close(gradients(loop, loss), gradients(loop, expected), **EXACT)


def test_gradients_are_those_of_differences() -> None:
    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        with OnCPU():
            return F.linear(torch.tanh(F.linear(x, w, b)), w, b)

    arguments = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 2, 5), (5, 5), (5,))]
    assert torch.autograd.gradcheck(run, arguments)


def test_the_gradient_of_a_weight_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, calls = Loop(), list[tuple[int, ...]]()
    with OnCPU():
        loss = loop()

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        calls.append((len(x), len(weight)))
        return F.linear(x, weight, bias)

    monkeypatch.setattr(on_cpu, "linear", counted)
    loss.backward()
    assert calls.count((7, 7)) == calls.count((7, 5)) == 1  # W of the recurrence, and of the input


def test_a_backward_pass_can_be_repeated_or_follow_one_for_other_gradients() -> None:
    loop = Loop()
    with OnCPU():
        loss = loop()
    (of_x,) = torch.autograd.grad(loss, loop.x, retain_graph=True)
    first = gradients(loop, loss, retain_graph=True)
    assert_close(of_x, first[0], **EXACT)
    assert_close(gradients(loop, loss), first, **EXACT)
    assert_close(first, gradients(loop, loop()), **EXACT)


def test_a_backward_pass_through_a_part_of_the_loop_counts_that_part_alone() -> None:
    layer, x = nn.Linear(5, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    with OnCPU():
        once = layer(x)
        twice = layer(once)
    torch.autograd.grad(twice.sum(), x, retain_graph=True)
    found = torch.autograd.grad(once.sum(), layer.weight)
    assert_close(found, torch.autograd.grad(layer(x).sum(), layer.weight), **EXACT)


def test_what_is_frozen_has_no_gradient() -> None:
    layer, x = nn.Linear(5, 3), torch.randn(2, 5)
    layer.bias.requires_grad_(False)
    with OnCPU():
        layer(x).sum().backward()
    assert layer.weight.grad is not None and layer.bias.grad is None
    layer.weight.requires_grad_(False)
    with OnCPU():
        assert not layer(x).requires_grad
        with torch.no_grad():
            assert not layer(x.requires_grad_()).requires_grad


def test_autocast_rounds_products_and_converts_each_weight_once() -> None:
    loop = Loop(torch.float32)
    expected = loop()
    with torch.autocast("cpu", torch.bfloat16), OnCPU() as mode:
        loss = loop()
        assert loop.from_input(loop.x).dtype == torch.bfloat16
    assert [own.weight.dtype for _, own in mode._weights.values()] == [torch.bfloat16, torch.bfloat16]
    found, exact = gradients(loop, loss), gradients(loop, expected)
    assert all(g.dtype == torch.float32 for g in found)
    assert_close(found, exact, rtol=0.1, atol=0.1)
    assert not torch.equal(found[0], exact[0])


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    loop = Loop()
    with OnCPU():
        (gradient,) = torch.autograd.grad(loop(), loop.x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_what_a_step_needs_is_freed_with_its_loss() -> None:
    loop = Loop()
    with OnCPU() as mode:
        loss = loop()
    own = weakref.ref(next(iter(mode._weights.values()))[1])
    del mode, loss
    assert own() is None  # at once, and not when Python looks for cycles


@pytest.mark.parametrize("name", list(DECODERS))
def test_loss_and_gradients_of_a_decoder_are_those_of_torch(name: str) -> None:
    case = Case(
        decoder=name,
        dtype="float32",
        images=3,
        captions_per_image=2,
        sizes=Sizes(vocabulary=41, width=8, features=13, regions=5),
        repeat=1,
    )
    torch.manual_seed(0)
    build, objective = DECODERS[name]
    decoder, batch = build(case.sizes).double().eval(), batch_of(case)
    pooled, grid = batch.features.pooled.double(), batch.features.grid
    assert grid is not None
    batch = replace(batch, features=ImageFeatures(pooled, grid.double()))
    found = []
    for mode in (nullcontext(), OnCPU()):
        decoder.zero_grad()
        with mode:
            loss = objective()(decoder, batch.features, batch)
        loss.backward()
        found.append([loss, *(w.grad for w in decoder.parameters())])
    assert_close(found[1], found[0], **EXACT)


def test_a_loss_in_chunks_has_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = DECODERS["mrnn"][0](Sizes(vocabulary=41, width=8, features=13)).double()
    hidden, targets = torch.randn(7, 8, dtype=torch.float64, requires_grad=True), torch.arange(7)
    found = []
    for most in (1000, 41 * 3):
        monkeypatch.setattr(chunks, "_ON_CPU", most)
        with OnCPU():
            also = decoder.head(hidden).sum()
            loss = also + mean_cross_entropy(decoder, hidden, targets, label_smoothing=0.1)
        found.append([loss, *torch.autograd.grad(loss, [hidden, *decoder.head.parameters()])])
    assert_close(found[1], found[0], **EXACT)


@pytest.fixture
def dropped() -> Iterator[Tensor]:
    torch.manual_seed(0)
    with OnCPU():
        yield F.dropout(torch.ones(300, 401), 0.3)


def test_dropout_sets_the_asked_share_to_zero_and_keeps_the_mean(dropped: Tensor) -> None:
    assert len(dropped.unique()) == 2
    assert float((dropped == 0).double().mean()) == pytest.approx(0.3, abs=0.005)  # 4 standard errors
    assert float(dropped.double().mean()) == pytest.approx(1, abs=0.008)
    for part in (dropped.view(-1)[n::4] for n in range(4)):  # four of them share a random number
        assert float((part == 0).double().mean()) == pytest.approx(0.3, abs=0.011)


def test_dropout_follows_the_seed(dropped: Tensor) -> None:
    with OnCPU():
        again = F.dropout(torch.ones_like(dropped), 0.3)
        torch.manual_seed(0)
        assert torch.equal(F.dropout(torch.ones_like(dropped), 0.3), dropped)
    assert not torch.equal(again, dropped)


def test_the_gradient_of_dropout_is_zero_where_it_is() -> None:
    x = torch.ones(7, 5, dtype=torch.bfloat16, requires_grad=True)
    with OnCPU():
        y = nn.Dropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y) and y.dtype == torch.bfloat16


@pytest.mark.parametrize(("p", "training", "expected"), [(0.0, True, 1.0), (1.0, True, 0.0), (0.5, False, 1.0)])
def test_dropout_of_nothing_and_of_all(p: float, training: bool, expected: float) -> None:
    with OnCPU():
        assert (F.dropout(torch.ones(5), p, training) == expected).all()
