"""Several processes compute the loss, the gradients and the statistics of one process with all their batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torch.testing import assert_close

from captioning.data.batch import CaptionBatch, collate
from captioning.decoders import Att2in, Hard, ShowAttendAndTell
from captioning.encoders.features import ImageFeatures, Objects
from captioning.objectives import (
    CaptionAndObjects,
    CrossEntropy,
    DoublyStochastic,
    Reinforce,
    loss_means,
    loss_of_all,
    token_losses,
)

SIZES: dict[str, Any] = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
CAPTIONS = [
    [[1, 4, 8, 2], [1, 5, 2]],
    [[1, 2]],
    [[1, 4, 9, 10, 4, 5, 6, 7], [1, 6, 3, 7, 2], [1, 9, 9, 2]],
    [[1, 7, 5, 2]],
]
"""Of four images: seven captions of 1 to 7 tokens."""

OBJECTIVES: dict[str, Callable[[], Any]] = {
    "cross_entropy": lambda: CrossEntropy(label_smoothing=0.1),
    "doubly_stochastic": lambda: DoublyStochastic(weight=0.7, label_smoothing=0.1),
    "caption_and_objects": lambda: CaptionAndObjects(feature_size=13, vocab_size=11, categories=["cat", "dog"]),
    "reinforce": lambda: Reinforce(entropy_weight=0.3, label_smoothing=0.1),
    "a_function": lambda: lambda *given: token_losses(*given).square().mean(),
}


class Processes:
    """Threads that stand for processes: each runs on its own copies, and they meet in `all_reduce`."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.local = count, threading.local()
        self.meet, self.parts = threading.Barrier(count, timeout=20), list[Any]([None] * count)
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: count)
        monkeypatch.setattr(distributed, "all_reduce", self.all_reduce)

    def all_reduce(self, values: Tensor) -> None:
        self.parts[self.local.rank] = values.clone()
        self.meet.wait()
        values.copy_(sum(self.parts))
        self.meet.wait()

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        results: list[Any] = [None] * self.count

        def one(rank: int) -> None:
            self.local.rank = rank
            results[rank] = work(rank)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def images() -> ImageFeatures:
    """Four images of four cells, the second with padding, and up to two objects."""
    random = torch.Generator().manual_seed(1)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 2:] = False
    return ImageFeatures(
        pooled=torch.randn(4, 13, generator=random).double(),
        grid=torch.randn(4, 4, 13, generator=random).double(),
        mask=mask,
        objects=Objects(
            categories=torch.tensor([[1, 0], [1, 0], [0, 0], [0, 1]]),
            boxes=torch.rand(4, 2, 4, generator=random),
            mask=torch.tensor([[True, True], [True, False], [False, False], [True, True]]),
        ),
    )


def part(rows: list[int]) -> tuple[ImageFeatures, CaptionBatch]:
    return images().rows(torch.tensor(rows)), collate(rows, [CAPTIONS[i] for i in rows], pad=0)


def built(objective: str) -> tuple[Any, Any]:
    """A decoder and an objective in float64."""
    torch.manual_seed(0)
    hard = objective == "reinforce"
    phi = Hard(expected_share=0.0)
    decoder: Any = ShowAttendAndTell(**SIZES, attention_size=23, phi=phi) if hard else Att2in(**SIZES)
    own = OBJECTIVES[objective]()
    for module in (decoder, own):
        if isinstance(module, torch.nn.Module):
            module.double()
            for weight in module.parameters():
                torch.nn.init.uniform_(weight, -0.7, 0.7)
    return decoder, own


def trained(decoder: Any, objective: Any, steps: list[tuple[ImageFeatures, CaptionBatch]]) -> tuple[Any, ...]:
    """Accumulate the gradients of some steps: the losses, the gradients, and the objective's statistics."""
    losses = []
    for features, batch in steps:
        loss = loss_of_all(loss_means(objective, decoder, features, batch), batch)
        loss.backward()
        losses.append(loss.detach())
    modules = [m for m in (decoder, objective) if isinstance(m, torch.nn.Module)]
    gradients = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
    return losses, gradients, [b for m in modules for b in m.buffers()]


@pytest.fixture(autouse=True)
def certain_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make hard attention attend to the heaviest region, in one process as in several."""
    monkeypatch.setattr(torch, "multinomial", lambda alpha, _: alpha.argmax(1, keepdim=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("shares", [[[0, 1], [2, 3]], [[2], [0, 3, 1]], [[1], [2], [0, 3]]])
def test_processes_train_what_one_trains(objective, shares, monkeypatch):
    alone, own = built(objective)
    whole = part([i for share in shares for i in share])
    expected = trained(alone, own, [whole, whole])
    assert expected[1]

    processes = Processes(len(shares), monkeypatch)
    parts = [built(objective) for _ in shares]
    results = processes.run(lambda rank: trained(*parts[rank], [part(shares[rank])] * 2))
    for which in (0, 1):  # losses, gradients
        mean = [torch.stack(same).mean(0) for same in zip(*(r[which] for r in results), strict=True)]
        assert_close(mean, list(expected[which]), rtol=1e-9, atol=1e-9)
    for result in results:
        assert_close(result[2], expected[2], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_repeated_batch_counts_for_nothing(objective, monkeypatch):
    alone, own = built(objective)
    expected = trained(alone, own, [part([2])])
    processes = Processes(3, monkeypatch)
    parts = [built(objective) for _ in range(3)]

    def work(rank: int) -> Any:
        features, batch = part([2])
        return trained(*parts[rank], [(features, replace(batch, repeated=rank > 0))])

    results = processes.run(work)
    mean = [torch.stack(same).mean(0) for same in zip(*(r[1] for r in results), strict=True)]
    assert_close(mean, expected[1], rtol=1e-9, atol=1e-9)
    assert all(not g.any() for r in results[1:] for g in r[1]), "every parameter still has a gradient"
    assert_close([r[2] for r in results], [expected[2]] * 3, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_in_one_process_the_loss_is_the_objective_s_bit_by_bit(objective):
    decoder, own = built(objective)
    features, batch = part([0, 1, 2])
    expected = deepcopy(own)(decoder, features, batch)
    assert torch.equal(loss_of_all(loss_means(own, decoder, features, batch), batch), expected)


SHARES = [[0, 1], [2, 3]]


def weights_after(steps: int, objective: str, rows: list[int], resumed: dict[str, Any] | None = None) -> dict[str, Any]:
    """Descend `steps` times with the processes' mean gradient, from a saved state if there is one."""
    decoder, own = built(objective)
    modules = torch.nn.ModuleDict({"decoder": decoder})
    if isinstance(own, torch.nn.Module):
        modules["objective"] = own
    modules.load_state_dict(resumed or modules.state_dict())
    for _ in range(steps):
        modules.zero_grad()
        features, batch = part(rows)
        loss_of_all(loss_means(own, decoder, features, batch), batch).backward()
        for p in modules.parameters():
            gradient = torch.zeros_like(p) if p.grad is None else p.grad
            if distributed.is_initialized():
                distributed.all_reduce(gradient)
                gradient /= distributed.get_world_size()
            p.data -= 0.1 * gradient
    return modules.state_dict()


def process(rank: int, folder: str) -> None:
    """Train with every objective as one of two processes, interrupted and resumed after two steps."""
    torch.multinomial = lambda alpha, _: alpha.argmax(1, keepdim=True)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for objective in OBJECTIVES:
        saved = weights_after(2, objective, SHARES[rank])
        torch.save(weights_after(2, objective, SHARES[rank], saved), f"{folder}/{objective}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes_train_what_one_trains_also_after_a_resume(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    for objective in OBJECTIVES:
        expected = weights_after(4, objective, [0, 1, 2, 3])
        for rank in (0, 1):
            got = torch.load(tmp_path / f"{objective}-{rank}.pt", weights_only=True)
            assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=lambda text, name=objective: f"{name}: {text}")
