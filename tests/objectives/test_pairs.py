"""Rules for every loss of pairs: its value and gradient pair by pair, and which pairs are negatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.matchers import Embedded, Matcher
from captioning.objectives import Contrastive, HardestNegatives, MaxMargin
from captioning.objectives.averages import loss_means

EOS = 2


class Given(Matcher):
    """A matcher whose scores are given, (images, captions in the order of `collate`)."""

    vocab_size = 11

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def images(self, features):
        return Embedded(features.pooled[:, None])

    def sentences(self, tokens, lengths):
        self.read = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
        return Embedded(torch.zeros(len(tokens), 1, 13))

    def similarity(self, images, sentences):
        assert (len(images), len(sentences)) == self.scores.shape
        return self.scores


@pytest.fixture
def scores() -> torch.Tensor:
    """Scores of the fixtures' 3 images and 5 captions, near the margins."""
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def of_negatives(scores, image_index, reduce):
    """A loop over true pairs, of `reduce(scores of negative captions, scores of negative images, true score)`."""
    total = 0.0
    for n, k in enumerate(image_index):
        captions = [scores[k, j] for j, image in enumerate(image_index) if image != k]
        images = [scores[i, n] for i in range(len(scores)) if i != k]
        total = total + reduce(captions, images, scores[k, n])
    return total / len(image_index)


def all_negatives(captions, images, true):
    return sum((s - true + 0.7).clamp(min=0) for s in (*captions, *images))


def hardest(captions, images, true):
    return sum((torch.stack(each).max() - true + 0.7).clamp(min=0) for each in (captions, images))


def cross_entropy(captions, images, true):
    return sum(torch.stack([3 * s for s in (true, *each)]).logsumexp(0) - 3 * true for each in (captions, images))


OBJECTIVES = {
    "MaxMargin": (MaxMargin(eos=EOS, margin=0.7), all_negatives),
    "HardestNegatives": (HardestNegatives(eos=EOS, margin=0.7), hardest),
    "Contrastive": (Contrastive(eos=EOS, gamma=3.0), cross_entropy),
}


@pytest.mark.parametrize(("objective", "reduce"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_equals_a_loop_over_pairs_with_gradients(scores, features, batch, objective, reduce):
    matcher = Given(scores)
    loss = objective(matcher, features, batch)
    loss.backward()
    plain = scores.clone().requires_grad_()
    expected = of_negatives(plain, batch.image_index.tolist(), reduce)
    expected.backward()
    assert_close(loss, expected)
    assert_close(matcher.scores.grad, plain.grad)
    assert plain.grad.any()


@pytest.mark.parametrize(("objective", "_"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_captions_of_the_same_image_are_no_negatives(scores, features, batch, objective, _):
    matcher = Given(scores)
    objective(matcher, features, batch).backward()
    index = batch.image_index
    for n in range(5):
        others = [m for m in range(5) if index[m] == index[n] and m != n]
        changed = Given(scores.clone())
        with torch.no_grad():
            changed.scores[index[n], n] += 1.0
        before, after = (
            torch.autograd.grad(objective(m, features, batch), m.scores)[0][index[n], others]
            for m in (matcher, changed)
        )
        assert_close(before, after)  # a true pair's score says nothing about another of the same image


@pytest.mark.parametrize(("objective", "reduce"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_image_that_is_in_a_batch_twice_is_one_image(features, objective, reduce):
    captions = [[[1, 4, 8, 2]], [[1, 5, 2]], [[1, 4, 9, 10, 2]]]
    batch = collate(("x", "y", "x"), captions, pad=0, features=features)
    scores = torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x, y = batch.image_index.tolist().index(0), batch.image_index.tolist().index(1)
    again = batch.image_index.tolist().index(2)
    expected = sum(
        reduce([scores[k, n] for n in captions_of], [scores[i, own] for i in images_of], scores[k, own])
        for k, own, captions_of, images_of in ((0, x, [y], [1]), (1, y, [x, again], [0, 2]), (2, again, [y], [1]))
    )
    assert_close(objective(Given(scores), features, batch).detach(), expected / 3)


@pytest.mark.parametrize(("objective", "_"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_batch_of_one_image_has_no_negatives(features, objective, _):
    batch = collate(("x",), [[[1, 4, 8, 2], [1, 5, 2]]], pad=0, features=features.rows(torch.tensor([0])))
    matcher = Given(torch.tensor([[1.0, -2.0]]))
    loss = objective(matcher, features.rows(torch.tensor([0])), batch)
    loss.backward()
    assert loss.item() == 0
    assert not matcher.scores.grad.any()


@pytest.mark.parametrize(("objective", "_"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_matcher_reads_the_words_alone(scores, features, batch, objective, _):
    matcher = Given(scores)
    objective(matcher, features, batch)
    # The first caption is truncated and has no <eos>; the last has no words.
    assert matcher.read == [[4, 9, 10, 4, 5, 6, 7], [6, 3, 7], [4, 8], [5], []]


@pytest.mark.parametrize(("objective", "_"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_it_is_a_mean_over_captions(scores, features, batch, objective, _):
    (mean,) = loss_means(objective, Given(scores), features, batch)
    assert mean.count == 5
    assert_close(mean.value, objective(Given(scores), features, batch))
