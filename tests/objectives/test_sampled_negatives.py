"""The true caption among captions of other images that are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.matchers import Dmsm, Embedded, Matcher
from captioning.objectives import SampledNegatives, loss_means
from captioning.objectives.sampled_negatives import draw

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "cat", "runs", "the", "red", "bus"]
EOS = 2


class Given(Matcher):
    """A matcher whose scores are given."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(scores)

    def images(self, features: Any) -> Embedded:
        return Embedded(features.pooled[:, None])

    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        return Embedded(torch.zeros(len(tokens), 1, 1))

    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        return self.scores[: len(images), : len(sentences)]


@pytest.fixture
def scores() -> Tensor:
    return torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_with_all_negatives_it_equals_a_loop_and_so_do_its_gradients(batch: Any, features: Any, scores: Tensor) -> None:
    matcher, gamma = Given(scores), 3.0
    loss = SampledNegatives(eos=EOS, gamma=gamma)(matcher, features, batch)
    expected = torch.zeros((), dtype=torch.float64)
    own = batch.image_index.tolist()
    for n, image in enumerate(own):
        others = [other for other in range(5) if own[other] != image]
        terms = [torch.exp(gamma * matcher.scores[image, each]) for each in (n, *others)]
        expected = expected - torch.log(terms[0] / sum(terms)) / 5
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    found, gradient = (torch.autograd.grad(each, matcher.scores)[0] for each in (loss, expected))
    torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-14)
    assert found.abs().max() > 0.01


def test_other_captions_of_the_image_are_no_negatives(batch: Any, features: Any) -> None:
    """If only captions of the image fit it, nothing is left to learn."""
    own = torch.zeros(3, 5)
    own[batch.image_index, torch.arange(5)] = 1.0
    assert SampledNegatives(eos=EOS, gamma=100.0)(Given(own), features, batch).item() < 1e-6


def test_an_image_in_two_rows_of_a_batch_is_one_image(batch: Any, features: Any, scores: Tensor) -> None:
    same = replace(batch, image_ids=("x", "x", "x"))
    assert SampledNegatives(eos=EOS)(Given(scores), features, same).item() == 0


def test_negatives_are_drawn_without_repetition_and_equally_often() -> None:
    torch.manual_seed(0)
    allowed = torch.tensor([[False, True, True, True, False], [True, False, False, False, False]])
    drawn = torch.stack([draw(allowed, 2) for _ in range(3000)])
    assert (drawn.sum(2) == torch.tensor([2, 1])).all()
    shares = drawn.double().mean(0)
    torch.testing.assert_close(shares[0], torch.tensor([0, 2 / 3, 2 / 3, 2 / 3, 0]).double(), atol=0.03, rtol=0)
    assert shares[1].tolist() == [1, 0, 0, 0, 0]


def test_the_loss_of_few_negatives_is_that_of_the_drawn_ones(batch: Any, features: Any, scores: Tensor) -> None:
    objective = SampledNegatives(eos=EOS, gamma=3.0, num_negatives=1)
    torch.manual_seed(4)
    own = batch.image_index[:, None] == batch.image_index
    drawn = draw(~own, 1)
    assert (drawn.sum(1) == 1).all()
    torch.manual_seed(4)
    found = objective(Given(scores), features, batch).item()
    rows = 3.0 * scores[batch.image_index]
    true, false = rows.diagonal(), rows[drawn]
    assert found == pytest.approx((true.exp() / (true.exp() + false.exp())).log().neg().mean().item(), rel=1e-12)


def test_the_seed_decides_which_are_drawn(batch: Any, features: Any, scores: Tensor) -> None:
    def losses(seed: int) -> list[float]:
        torch.manual_seed(seed)
        objective = SampledNegatives(eos=EOS, num_negatives=1)
        return [objective(Given(scores), features, batch).item() for _ in range(5)]

    assert losses(0) == losses(0) != losses(1)
    assert len(set(losses(0))) > 1


def test_its_mean_counts_captions(batch: Any, features: Any, scores: Tensor) -> None:
    (mean,) = loss_means(SampledNegatives(eos=EOS), Given(scores), features, batch)  # type: ignore[arg-type]
    assert mean.count == 5


def test_a_matcher_learns_which_captions_belong_to_which_image(batch: Any, features: Any) -> None:
    torch.manual_seed(0)
    matcher = Dmsm(feature_size=13, vocab_size=11, vocabulary=WORDS, hidden_size=17, joint_size=19)
    objective, optimizer = SampledNegatives(eos=EOS, num_negatives=2), torch.optim.Adam(matcher.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = objective(matcher, features, batch)
        loss.backward()
        optimizer.step()
    similarity = matcher.similarity(matcher.images(features), matcher.sentences(*batch.words(EOS)))
    has_words = batch.words(EOS)[1] > 0
    assert (similarity.argmax(0) == batch.image_index)[has_words].all()


@pytest.mark.parametrize(
    ("settings", "message"), [({"gamma": 0.0}, "gamma=0.0 must"), ({"num_negatives": 0}, "=0 must")]
)
def test_wrong_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SampledNegatives(eos=EOS, **settings)
