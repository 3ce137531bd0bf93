"""The REINFORCE gradient, its baseline, and that on average it is the gradient of the bound."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.decoders import Hard, ShowAttendAndTell
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, Reinforce, token_losses


def build(expected_share: float) -> ShowAttendAndTell:
    torch.manual_seed(0)
    decoder = ShowAttendAndTell(
        feature_size=13,
        vocab_size=11,
        phi=Hard(expected_share=expected_share),
        embedding_size=17,
        hidden_size=19,
        attention_size=23,
    )
    for weight in decoder.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    return decoder


def test_without_samples_and_entropy_it_is_cross_entropy(features, batch):
    decoder = build(expected_share=1.0)
    loss = Reinforce(entropy_weight=0.0)(decoder, features, batch)
    assert_close(loss, CrossEntropy()(decoder, features, batch))


def test_the_baseline_is_the_moving_average_of_log_probabilities_per_token(features, batch):
    decoder, objective = build(expected_share=1.0), Reinforce()
    of_token = token_losses(decoder, features, batch)
    of_caption = unpack_sequence(batch.targets()._replace(data=-of_token))
    mean = sum(caption.mean().item() for caption in of_caption) / 5
    objective(decoder, features, batch)
    assert_close(objective.baseline.item(), 0.1 * mean)
    objective(decoder, features, batch)
    assert_close(objective.baseline.item(), 0.9 * 0.1 * mean + 0.1 * mean)
    assert list(objective.state_dict()) == ["baseline"]
    objective.eval()
    before = objective.baseline.item()
    objective(decoder, features, batch)
    assert objective.baseline.item() == before


def test_the_baseline_of_a_batch_is_that_of_earlier_batches(features, batch, monkeypatch):
    """Its value is the negative of Σ log p + Σ (r - b) log p(s) over tokens, with b before this batch's rewards."""
    monkeypatch.setattr(torch, "multinomial", lambda alpha, _: alpha.argmax(1, keepdim=True))
    decoder, objective = build(expected_share=0.0).double(), Reinforce(entropy_weight=0.0).double()
    features = ImageFeatures(features.pooled.double(), features.grid.double(), features.mask)
    attended = decoder.attend(features, batch.inputs(), batch.image_index)
    log_p = decoder.head(attended.hidden).log_softmax(1).gather(1, batch.targets().data[:, None])[:, 0]
    of_caption = [
        [x.item() for x in unpack] for unpack in unpack_sequence(batch.targets()._replace(data=log_p.detach()))
    ]
    log_s = [x.sum().item() for x in unpack_sequence(batch.targets()._replace(data=attended.log_choice.detach()))]
    rewards = [sum(own) / len(own) for own in of_caption]
    b = 0.0
    for _ in range(3):
        bound = sum(map(sum, of_caption)) + sum((r - b) * s for r, s in zip(rewards, log_s, strict=True))
        assert_close(objective(decoder, features, batch).item(), -bound / 17, rtol=1e-9, atol=1e-9)
        b = 0.9 * b + 0.1 * sum(rewards) / len(rewards)
        assert_close(objective.baseline.item(), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_trains_modules_of_any_precision(features, batch, dtype):
    decoder, objective = build(expected_share=0.0).to(dtype), Reinforce().to(dtype)
    features = ImageFeatures(features.pooled.to(dtype), features.grid.to(dtype), features.mask)
    for _ in range(2):
        objective(decoder, features, batch).backward()
    assert objective.baseline.dtype == dtype
    assert objective.baseline < 0
    assert all(weight.grad.isfinite().all() for weight in decoder.parameters())


def test_entropy_is_rewarded(features, batch):
    decoder = build(expected_share=1.0)
    attended = decoder.attend(features, batch.inputs(), batch.image_index)
    entropy = -sum(a * torch.tensor(a).log().item() for a in attended.attention.flatten().tolist() if a > 0)
    without, with_it = (Reinforce(entropy_weight=w)(decoder, features, batch).item() for w in (0.0, 0.5))
    assert_close(with_it, without - 0.5 * entropy / 17, rtol=0, atol=1e-5)


def test_the_reward_does_not_depend_on_the_length(features):
    decoder, objective = build(expected_share=0.0), Reinforce(entropy_weight=0.0)
    for weight in (decoder.head.weight, decoder.head.bias):
        torch.nn.init.zeros_(weight)  # every word is as probable, whatever was sampled
    objective(decoder, features, collate(("x", "y"), [[[1, 2]], [[1, 3, 4, 5, 6, 2]]], pad=0))
    assert_close(objective.baseline.item(), -0.1 * torch.tensor(11.0).log().item())


def test_label_smoothing_changes_the_likelihood_alone(features, batch):
    decoder = build(expected_share=1.0)
    smoothed, plain = Reinforce(entropy_weight=0.0, label_smoothing=0.1), Reinforce(entropy_weight=0.0)
    assert_close(smoothed(decoder, features, batch), CrossEntropy(label_smoothing=0.1)(decoder, features, batch))
    plain(decoder, features, batch)
    assert_close(smoothed.baseline, plain.baseline)
    with pytest.raises(InputError, match="label_smoothing"):
        Reinforce(label_smoothing=2.0)


def test_regions_that_are_not_real_leave_gradients_finite(features, batch):
    assert not features.mask.all()
    for share in (0.0, 1.0):
        decoder = build(expected_share=share)
        Reinforce()(decoder, features, batch).backward()
        assert all(weight.grad.isfinite().all() for weight in decoder.parameters())


WORDS = [5, 2]  # after <bos>: two steps, over the two regions of the first image


def enumerated(decoder, features):
    """Yield each sequence of regions s with log p(y|s) and log p(s)."""
    state = decoder.start(features)
    for regions in product(range(2), repeat=2):
        h, c, log_p, log_s = state.hidden, state.cell, 0.0, 0.0
        for region, before, word in zip(regions, [1, WORDS[0]], WORDS, strict=True):
            y = decoder.embedding(torch.tensor([before]))
            log_s = log_s + decoder.attention(h, state.memory)[0, region].log()
            z = decoder.gate(h).sigmoid() * features.grid[:, region]
            gates = decoder.from_word(y) + decoder.recurrence(h) + decoder.from_context(z)
            i, f, o, g = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out = torch.tanh(y + decoder.output_hidden(h) + decoder.output_context(z))
            log_p = log_p + decoder.head(out).log_softmax(1)[0, word]
        yield regions, log_p, log_s


def expectation(decoder, features, reward_weight):
    """What (6) is a sample of, with r = log p(y|s) / 2 and no baseline, whose share is zero; as a gradient's source.

    Σ_s p(s) ∂log p(y|s) + λ_r Σ_s r(s) ∂p(s)
    """
    terms = [
        log_s.exp().detach() * log_p + reward_weight * log_p.detach() / 2 * log_s.exp()
        for _, log_p, log_s in enumerated(decoder, features)
    ]
    return sum(terms)


@pytest.fixture
def one_image(features):
    """The features of the first image, which has two regions."""
    one = features.rows(torch.tensor([0]))
    assert one.mask.all()
    return one


@pytest.mark.parametrize("reward_weight", [1.0, 2.0])
@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_its_expectation_over_every_sequence_of_draws_is_exact(one_image, monkeypatch, reward_weight, baseline):
    """Two regions, two steps: sample each of the four sequences once, and weight its gradient by its probability."""
    decoder = build(expected_share=0.0)
    weights = list(decoder.parameters())
    objective = Reinforce(reward_weight=reward_weight, entropy_weight=0.0)
    caption = collate(("x",), [[[1, *WORDS]]], pad=0)

    average = [torch.zeros_like(weight) for weight in weights]
    for regions, _, log_s in enumerated(decoder, one_image):
        draws = iter(regions)
        monkeypatch.setattr(torch, "multinomial", lambda alpha, _, draws=draws: torch.tensor([[next(draws)]]))
        objective.baseline.fill_(baseline)
        objective.eval()  # the baseline does not change
        loss = objective(decoder, one_image, caption)
        for total, own in zip(average, torch.autograd.grad(loss, weights), strict=True):
            total += log_s.exp().detach() * own
    expected = torch.autograd.grad(-expectation(decoder, one_image, reward_weight) / 2, weights)
    assert_close(average, list(expected), rtol=1e-4, atol=1e-6)

    # (5), the bound, is Σ_s p(s) log p(y|s): its gradient is the expectation where λ_r makes a reward of the sum.
    bound = sum(log_s.exp() * log_p for _, log_p, log_s in enumerated(decoder, one_image))
    of_bound = torch.autograd.grad(-bound / 2, weights)
    same = all(a.allclose(b, rtol=1e-4, atol=1e-6) for a, b in zip(average, of_bound, strict=True))
    assert same == (reward_weight == 2.0)


def test_on_average_over_many_draws_its_gradient_is_that_expectation(one_image):
    decoder = build(expected_share=0.0)
    score = decoder.attention.score.weight
    (expected,) = torch.autograd.grad(-expectation(decoder, one_image, 1.0) / 2, score)
    objective = Reinforce(entropy_weight=0.0).eval()
    objective.baseline.fill_(sum(log_p.item() for _, log_p, _ in enumerated(decoder, one_image)) / 4 / 2)
    many = collate(("x",), [[[1, *WORDS]] * 4000], pad=0)
    (gradient,) = torch.autograd.grad(objective(decoder, one_image, many), score)
    assert expected.norm() > 0.01
    assert (gradient - expected).norm() < 0.1 * expected.norm()
