"""Losses in chunks equal those of all logits at once, with their gradients, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.data.batch import CaptionBatch
from captioning.decoders import LanguageModel
from captioning.encoders.features import ImageFeatures
from captioning.objectives import CrossEntropy, DoublyStochastic, NoiseContrastive, Reinforce, token_losses
from captioning.objectives import chunks as module
from captioning.objectives.chunks import chunks, summed_loss
from captioning.objectives.objective import check_objective
from captioning.recurrent import GRU

EXACT = {"rtol": 1e-12, "atol": 1e-12}
V = 11


class Heads(nn.Module):
    """Stands for a decoder whose head is given; `other` is no part of it."""

    def __init__(self, head: nn.Module, vocab_size: int = V) -> None:
        super().__init__()
        self.head, self.vocab_size, self.other = head, vocab_size, nn.Linear(2, 3)


HEADS = {
    "linear": lambda d: nn.Linear(d, V),
    "without a bias": lambda d: nn.Linear(d, V, bias=False),
    "of two factors": lambda d: nn.Sequential(nn.Linear(d, 3, bias=False), nn.Tanh(), nn.Linear(3, V)),
    "normalised": lambda d: nn.utils.parametrizations.weight_norm(nn.Linear(d, V)),
}


def gradients(of: Tensor, *by: Tensor) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(of, by, allow_unused=True)


def chunks_of(monkeypatch: pytest.MonkeyPatch, rows: int, vocab_size: int = V) -> None:
    monkeypatch.setattr(module, "_ON_CPU", rows * vocab_size)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@given(
    num_rows=st.integers(1, 17),
    width=st.integers(1, 7),
    rows=st.integers(1, 9),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_sums_and_gradients_equal_those_of_all_logits_at_once(
    head: Any, num_rows: int, width: int, rows: int, smoothing: float
) -> None:
    decoder: Any = Heads(head(width)).double()
    hidden = torch.randn(num_rows, width, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(V, (num_rows,)), list(decoder.parameters())
    plain = F.cross_entropy(decoder.head(hidden), targets, label_smoothing=smoothing, reduction="sum")
    with pytest.MonkeyPatch.context() as patch:
        chunks_of(patch, rows)
        own = summed_loss(
            decoder, hidden, lambda x, t: F.cross_entropy(x, t, label_smoothing=smoothing, reduction="none"), targets
        )
    assert_close(own, plain, **EXACT)
    # Multiplied by 3, as accumulation and losses of several parts do.
    assert_close(gradients(3 * own, hidden, *weights), gradients(3 * plain, hidden, *weights), **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_decoder_has_the_same_loss_and_gradients_in_chunks(
    decoder: Any, features: ImageFeatures, batch: CaptionBatch, monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    decoder.double()
    features, weights = features.cast(torch.float64), list(decoder.parameters())
    logits = decoder(features, batch.inputs(), batch.image_index)
    targets = batch.targets().data
    plain = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    expected = gradients(plain, *weights)
    chunks_of(monkeypatch, 4)
    own = CrossEntropy(label_smoothing=smoothing)(decoder, features, batch)
    assert_close((own, gradients(own, *weights)), (plain, expected), **EXACT)
    with torch.no_grad():
        each = F.cross_entropy(logits, targets, reduction="none")
        assert_close(token_losses(decoder, features, batch), each, **EXACT)
        assert_close(CrossEntropy()(decoder, features, batch), each.mean(), **EXACT)


@pytest.mark.parametrize("kind", ["DoublyStochastic", "Reinforce", "NoiseContrastive"])
def test_every_objective_over_the_vocabulary_is_the_same_in_chunks(
    decoder: Any, features: ImageFeatures, batch: CaptionBatch, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def found() -> Any:
        objective: Any = {
            "DoublyStochastic": lambda: DoublyStochastic(label_smoothing=0.1),
            "Reinforce": lambda: Reinforce(label_smoothing=0.1),
            "NoiseContrastive": lambda: NoiseContrastive(feature_size=13, vocab_size=V, num_noise=3),
        }[kind]()
        try:
            check_objective(decoder, objective)
        except ValueError as wrong:
            pytest.skip(str(wrong))
        torch.manual_seed(0)
        loss = objective(decoder, features, batch)
        return loss, gradients(loss, *decoder.parameters()), dict(getattr(objective, "named_buffers", dict)())

    decoder.double()
    features = features.cast(torch.float64)
    at_once = found()
    chunks_of(monkeypatch, 4)
    assert_close(found(), at_once, **EXACT)


def test_mixed_precision_is_as_exact_as_without_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    decoder: Any = Heads(nn.Linear(64, V))
    hidden, targets = torch.randn(100, 64, requires_grad=True), torch.randint(V, (100,))
    by = (hidden, *decoder.head.parameters())
    exact = F.cross_entropy(decoder.head(hidden), targets, reduction="sum")
    chunks_of(monkeypatch, 30)
    with torch.autocast("cpu", torch.bfloat16):
        own = summed_loss(decoder, hidden, lambda x, t: F.cross_entropy(x, t, reduction="none"), targets)
    assert own.dtype == torch.float32
    assert_close(own, exact, rtol=1e-3, atol=0.0)
    for got, expected in zip(gradients(own, *by), gradients(exact, *by), strict=True):
        assert got is not None
        assert got.dtype == torch.float32
        assert_close(got, expected, rtol=0.0, atol=0.01 * float(expected.abs().max()))  # type: ignore[union-attr]


def test_gradients_of_bfloat16_weights_are_added_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder: Any = Heads(nn.Linear(1, 2, bias=False), 2).bfloat16()
    nn.init.zeros_(decoder.head.weight)
    hidden = torch.ones(512, 1, dtype=torch.bfloat16)
    chunks_of(monkeypatch, 1, 2)
    loss = summed_loss(decoder, hidden, lambda x, t: -x.gather(1, t[:, None])[:, 0], torch.ones(512, dtype=torch.long))
    # Added one by one in bfloat16, 256 + 1 is 256.
    assert gradients(loss, decoder.head.weight)[0].tolist() == [[0.0], [-512.0]]  # type: ignore[union-attr]


@pytest.mark.parametrize("frozen", ["hidden", "head", "both"])
def test_frozen_parts_get_no_gradient(monkeypatch: pytest.MonkeyPatch, frozen: str) -> None:
    decoder: Any = Heads(nn.Linear(7, V)).double()
    decoder.head.requires_grad_(frozen == "hidden")
    hidden = torch.randn(9, 7, dtype=torch.float64, requires_grad=frozen == "head")
    targets = torch.randint(V, (9,))
    plain = F.cross_entropy(decoder.head(hidden), targets, reduction="sum")
    chunks_of(monkeypatch, 4)
    own = summed_loss(decoder, hidden, lambda x, t: F.cross_entropy(x, t, reduction="none"), targets)
    assert_close(own.detach(), plain.detach(), **EXACT)
    if frozen != "both":
        left = [x for x in (hidden, *decoder.head.parameters()) if x.requires_grad]
        assert_close(gradients(own, *left), gradients(plain, *left), **EXACT)


def test_gradients_accumulate_over_batches_and_reach_the_hooks_of_several_processes(
    features: ImageFeatures, batch: CaptionBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            widths = {"embedding_size": 17, "hidden_size": 17}
            self.decoder = LanguageModel(recurrent=GRU, feature_size=13, vocab_size=V, tied=True, **widths)

        def forward(self) -> Tensor:
            return CrossEntropy()(self.decoder, features, batch)

    plain, own = Loss().double(), Loss().double()
    for _ in range(2):
        plain().backward()  # type: ignore[no-untyped-call]
    chunks_of(monkeypatch, 4)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        several = DistributedDataParallel(own)
        for _ in range(2):  # the second forward pass fails if a parameter of the first one was not reduced
            several().backward()
    finally:
        distributed.destroy_process_group()
    expected = [weight.grad for weight in plain.parameters()]
    assert_close([weight.grad for weight in own.parameters()], expected, **EXACT)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that is computed."""

    size = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = (x for x in (found if isinstance(found, tuple | list) else [found]) if isinstance(x, Tensor))
        self.size = max([self.size, *(x.numel() for x in tensors)])
        return found


def test_no_tensor_of_all_logits_is_computed(
    features: ImageFeatures, batch: CaptionBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = LanguageModel(recurrent=GRU, feature_size=13, vocab_size=997, embedding_size=2, hidden_size=3)
    chunks_of(monkeypatch, 4, 997)
    with Largest() as trained:
        CrossEntropy()(decoder, features, batch).backward()
    with Largest() as validated, torch.no_grad():
        token_losses(decoder, features, batch)
    assert trained.size == validated.size == 4 * 997


@given(num_rows=st.integers(0, 50), rows=st.integers(1, 60))
def test_chunks_are_as_few_as_may_be_and_of_almost_equal_size(num_rows: int, rows: int) -> None:
    hidden = torch.arange(num_rows)
    with pytest.MonkeyPatch.context() as patch:
        chunks_of(patch, rows)
        parts = list(chunks(Heads(nn.Identity()), hidden, hidden + 1))  # type: ignore[arg-type]
    assert len(parts) <= max(1, math.ceil(num_rows / rows))
    assert all(len(h) <= rows for h, _ in parts)
    assert torch.cat([h for h, _ in parts]).tolist() == hidden.tolist()
    assert all((h + 1).tolist() == other.tolist() for h, other in parts)


def test_small_batches_are_one_chunk() -> None:
    assert len(list(chunks(Heads(nn.Identity(), 2541), torch.empty(580, 3)))) == 1  # type: ignore[arg-type]
