"""Noise-contrastive estimation against a float64 loop, and its expected gradient against the closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.objectives import CrossEntropy, NoiseContrastive

SIZES = {"feature_size": 13, "vocab_size": 11}


class Table(nn.Module):
    """A decoder whose logits are its weights: one row for each of the batch's 17 tokens."""

    def __init__(self, *, normalised: bool = False) -> None:
        super().__init__()
        scores = torch.randn(17, 11, generator=torch.Generator().manual_seed(3)).double()
        self.scores = nn.Parameter(scores.log_softmax(1) if normalised else scores)
        self.head, self.vocab_size = nn.Identity(), 11

    def hidden(self, features, inputs, image_index):
        return self.scores


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Any]:
    """Replace the draws: {"noise": ids of the noise words, as drawn}; it also records their probabilities as "q"."""
    given: dict[str, Any] = {}

    def multinomial(q, num, replacement):
        assert replacement
        given["q"] = q
        return given["noise"].expand(num) if given["noise"].dim() == 0 else given["noise"]

    monkeypatch.setattr(torch, "multinomial", multinomial)
    return given


def frequencies(batch) -> torch.Tensor:
    """q of the first batch: the share of each target, with one added to every count."""
    targets = batch.targets().data.tolist()
    return torch.tensor([targets.count(w) + 1 for w in range(11)]).double() / (17 + 11)


def test_equals_a_loop_over_tokens_and_noise(features, batch, drawn):
    decoder, k = Table(), 3
    drawn["noise"] = torch.randint(11, (17 * k,), generator=torch.Generator().manual_seed(1))
    loss = NoiseContrastive(**SIZES, num_noise=k)(decoder, features, batch)
    q, expected = frequencies(batch), torch.zeros(()).double()
    for row, target in enumerate(batch.targets().data.tolist()):
        p = decoder.scores[row].exp()
        expected -= (p[target] / (p[target] + k * q[target])).log()
        for w in drawn["noise"][k * row : k * (row + 1)].tolist():
            expected -= (k * q[w] / (p[w] + k * q[w])).log()
    assert_close(loss, expected / 17)
    assert_close(drawn["q"], q)
    gradient = torch.autograd.grad(expected / 17, decoder.scores)[0]
    loss.backward()
    assert_close(decoder.scores.grad, gradient)


def test_the_expected_gradient_is_the_closed_form(features, batch, drawn):
    decoder, q = Table(), frequencies(batch)
    for w in range(11):  # each word is drawn with probability q_w; k = 1
        drawn["noise"] = torch.tensor(w)
        (q[w] * NoiseContrastive(**SIZES, num_noise=1)(decoder, features, batch)).backward()
    p = decoder.scores.detach().exp()
    truth = nn.functional.one_hot(batch.targets().data, 11)
    assert_close(decoder.scores.grad, q / (p + q) * (p - truth) / 17)


def test_with_much_noise_the_gradient_is_that_of_the_softmax(features, batch):
    torch.manual_seed(0)
    decoder = Table(normalised=True)
    expected = torch.autograd.grad(CrossEntropy()(decoder, features, batch), decoder.scores)[0]
    differences = []
    for k in (10, 1_000, 100_000):
        loss = NoiseContrastive(**SIZES, num_noise=k)(decoder, features, batch)
        got = torch.autograd.grad(loss, decoder.scores)[0]
        differences.append((17 * (got - expected)).abs().max().item())
    assert differences[2] < 0.02 < differences[1] < differences[0]


def test_it_learns_probabilities_that_sum_to_one(features, batch):
    torch.manual_seed(0)

    class Unigram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(11))
            self.head, self.vocab_size = nn.Identity(), 11

        def hidden(self, features, inputs, image_index):
            return self.scores.expand(17, 11)

    decoder, objective = Unigram(), NoiseContrastive(**SIZES, num_noise=200)
    learner = torch.optim.Adam(decoder.parameters(), lr=0.03)
    for _ in range(600):
        learner.zero_grad()
        objective(decoder, features, batch).backward()
        learner.step()
    shares = torch.bincount(batch.targets().data, minlength=11) / 17
    assert_close(decoder.scores.exp(), shares, rtol=0, atol=0.03)


def test_counts_are_those_of_all_training_batches(features, batch):
    objective, decoder = NoiseContrastive(**SIZES), Table()
    expected = torch.bincount(batch.targets().data, minlength=11)
    objective.eval()(decoder, features, batch)
    assert not objective.counts.any()
    for n in (1, 2):
        objective.train()(decoder, features, batch)
        assert objective.counts.equal(n * expected)
    assert list(objective.state_dict()) == ["counts"]


def test_every_decoder_learns_from_it(one_decoder, features, batch):
    NoiseContrastive(**SIZES)(one_decoder, features, batch).backward()
    assert all(weight.grad.isfinite().all() for weight in one_decoder.parameters())
    assert any(weight.grad.any() for weight in one_decoder.parameters())


def test_no_noise_is_refused():
    with pytest.raises(InputError, match="num_noise=0 must be at least 1"):
        NoiseContrastive(**SIZES, num_noise=0)
