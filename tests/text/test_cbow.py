"""CBOW against its equations in plain loops, and on text with known neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.text.cbow import CBOW, Corpus, NegativeSampling, Objective, Softmax, Windows, train_cbow

SENTENCES = [[0, 1, 2, 3, 0, 4, 5], [6], [], [2, 0], [5, 5, 1]]  # V = 7
OBJECTIVES = [Softmax, NegativeSampling]


def context(sentence: list[int], position: int, window: int) -> list[int]:
    """Return up to `window` words before the position and as many after it."""
    around = range(position - window, position + window + 1)
    return [sentence[i] for i in around if i != position and 0 <= i < len(sentence)]


def positions(window: int) -> list[tuple[list[int], int]]:
    """Return the neighbours of each word that has any, and the word, in the order of the text."""
    found = [(context(s, position, window), word) for s in SENTENCES for position, word in enumerate(s)]
    return [(neighbours, word) for neighbours, word in found if neighbours]


@pytest.mark.parametrize("size", [1, 4, 11])
def test_windows_are_the_neighbours_of_each_word_in_its_sentence(size: int) -> None:
    windows = Windows(SENTENCES, size, pad=7)
    neighbours, middle = windows.rows(torch.arange(len(windows)))
    assert neighbours.shape == (len(windows), 2 * size)
    found = [([w for w in row if w != 7], word) for row, word in zip(neighbours.tolist(), middle.tolist(), strict=True)]
    assert found == positions(size)


def loud(objective: Objective) -> CBOW:
    """Build a float64 model with V = 7 and E = 3 whose weights all matter."""
    torch.manual_seed(0)
    model = CBOW(torch.tensor([3, 2, 2, 1, 1, 3, 1]), 3, objective).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    with torch.no_grad():
        model.vectors.weight[-1] = 0
    return model


def by_loops(vectors: Tensor, loss_of: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """Average `loss_of(v, middle word, index)` over all positions."""
    losses = []
    for index, (neighbours, word) in enumerate(positions(window=2)):
        v = torch.zeros(3, dtype=torch.float64)
        for neighbour in neighbours:
            v = v + vectors[neighbour] / len(neighbours)
        losses.append(loss_of(v, word, index))
    return sum(losses[1:], losses[0]) / len(losses)


def check_gradients(model: CBOW, found: Tensor, expected: Tensor) -> None:
    weights = [model.vectors.weight, model.objective.output]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for own, reference in zip(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)
        assert own.abs().sum() > 0.1


def test_softmax_is_the_paper_s_log_linear_prediction() -> None:
    model = loud(Softmax)
    u, windows = model.objective.output, Windows(SENTENCES, 2, pad=7)

    def loss_of(v: Tensor, word: int, _: int) -> Tensor:
        return torch.stack([(u[w] * v).sum().exp() for w in range(7)]).sum().log() - (u[word] * v).sum()

    check_gradients(model, model(*windows.rows(torch.arange(len(windows)))), by_loops(model.vectors.weight, loss_of))


def test_negative_sampling_is_equation_4() -> None:
    model = loud(NegativeSampling)
    objective, windows = model.objective, Windows(SENTENCES, 2, pad=7)
    u = objective.output
    negatives = torch.randint(7, (len(windows), 5))

    def loss_of(v: Tensor, word: int, index: int) -> Tensor:
        loss = -(1 / (1 + (-(u[word] * v).sum()).exp())).log()
        for negative in negatives[index].tolist():
            loss = loss - (1 / (1 + (u[negative] * v).sum().exp())).log()
        return loss

    neighbours, middle = windows.rows(torch.arange(len(windows)))
    found = objective.loss(model.vectors(neighbours), middle, negatives)
    check_gradients(model, found, by_loops(model.vectors.weight, loss_of))


def test_negatives_are_drawn_in_proportion_to_counts_to_the_power_three_quarters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = torch.tensor([1, 16, 81, 0])
    objective, drawn = NegativeSampling(counts, 2, num_negatives=4), []
    monkeypatch.setattr(objective, "loss", lambda v, middle, negatives: drawn.append(negatives))
    torch.manual_seed(0)
    objective(torch.zeros(9000, 2), torch.zeros(9000, dtype=torch.int64))
    assert drawn[0].shape == (9000, 4)
    shares = torch.bincount(drawn[0].flatten(), minlength=4) / 36000
    assert shares.tolist() == pytest.approx([1 / 36, 8 / 36, 27 / 36, 0], abs=0.01)


def test_the_vector_of_padding_never_learns() -> None:
    model = loud(Softmax)
    windows = Windows(SENTENCES, 4, pad=7)
    model(*windows.rows(torch.arange(len(windows)))).backward()
    assert model.vectors.weight.grad is not None
    assert not model.vectors.weight.grad[-1].any()


# ---- corpus -----------------------------------------------------------------------------------------------------


def test_a_corpus_leaves_out_rare_words() -> None:
    corpus = Corpus.from_sentences(["A dog, a rare dog!", "the dog <eos>", "the cat"], min_count=2)
    assert corpus.words == ["dog", "a", "the"]
    assert corpus.sentences == [[1, 0, 1, 0], [2, 0], [2]]
    assert corpus.counts().tolist() == [3, 2, 2]


def test_text_without_frequent_words_or_neighbours_is_refused() -> None:
    with pytest.raises(InputError, match="no word occurs 3 times"):
        Corpus.from_sentences(["a dog", "a cat"], min_count=3)
    with pytest.raises(InputError, match="no sentence has two frequent words"):
        train_cbow(Corpus.from_sentences(["dog", "dog"], min_count=2), Softmax, size=2)


# ---- training ---------------------------------------------------------------------------------------------------

ANIMALS, COLOURS, THINGS = ["dog", "cat", "cow"], ["red", "blue", "pink"], ["hat", "car", "cup"]


def toy() -> Corpus:
    """Build a corpus in which words of one kind occur in the same contexts."""
    seen = [f"the {animal} sees a {colour} thing" for animal in ANIMALS for colour in COLOURS]
    bought = [f"she buys my {colour} {thing} today" for colour in COLOURS for thing in THINGS]
    return Corpus.from_sentences([*seen, *bought] * 5, min_count=1)


def trained(objective: Objective, **settings: Any) -> Any:
    return train_cbow(toy(), objective, **{"size": 8, "epochs": 20, "batch_size": 32, "learning_rate": 0.02} | settings)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_words_of_a_kind_become_neighbours(objective: Objective) -> None:
    vectors = trained(objective)
    for kind in (ANIMALS, COLOURS, THINGS):
        for word in kind:
            assert {word, *(other for other, _ in vectors.neighbours(word, 2))} == set(kind)


def test_the_same_seed_gives_the_same_vectors_and_leaves_torch_s_random_state_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(NegativeSampling, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(trained(NegativeSampling, epochs=2).vectors, first.vectors)
    assert not np.array_equal(trained(NegativeSampling, epochs=2, seed=1).vectors, first.vectors)


def test_the_loss_of_each_epoch_is_reported_and_falls() -> None:
    reported: list[tuple[int, float]] = []
    trained(Softmax, epochs=3, learning_rate=0.1, on_epoch=lambda epoch, loss: reported.append((epoch, loss)))
    assert [epoch for epoch, _ in reported] == [1, 2, 3]
    assert reported[0][1] > reported[1][1] > reported[2][1]


def test_the_learning_rate_decays_linearly_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def recorded(self: Any, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    trained(Softmax, epochs=2, batch_size=200)  # 540 positions: 3 steps per epoch
    assert rates == pytest.approx([0.02 * (6 - i) / 6 for i in range(6)])
