"""The REINFORCE gradient, its baseline, and that on average it is the gradient of the bound."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.decoders import Hard, ShowAttendAndTell
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


def test_without_draws_and_entropy_it_is_cross_entropy(features, batch):
    decoder = build(expected_share=1.0)
    loss = Reinforce(entropy_weight=0.0)(decoder, features, batch)
    assert_close(loss, CrossEntropy()(decoder, features, batch))


def test_the_baseline_is_the_moving_average_of_captions_log_probabilities_a_token(features, batch):
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


def test_entropy_is_rewarded(features, batch):
    decoder = build(expected_share=1.0)
    attended = decoder.attend(features, batch.inputs(), batch.image_index)
    entropy = -sum(a * torch.tensor(a).log().item() for a in attended.attention.flatten().tolist() if a > 0)
    without, with_it = (Reinforce(entropy_weight=w)(decoder, features, batch).item() for w in (0.0, 0.5))
    assert_close(with_it, without - 0.5 * entropy / 17, rtol=0, atol=1e-5)


def test_a_longer_caption_has_no_other_reward_for_its_length(features):
    decoder, objective = build(expected_share=0.0), Reinforce(entropy_weight=0.0)
    for weight in (decoder.head.weight, decoder.head.bias):
        torch.nn.init.zeros_(weight)  # every word is as probable, whatever was drawn
    objective(decoder, features, collate(("x", "y"), [[[1, 2]], [[1, 3, 4, 5, 6, 2]]], pad=0))
    assert_close(objective.baseline.item(), -0.1 * torch.tensor(11.0).log().item())


def test_label_smoothing_is_of_the_likelihood_alone(features, batch):
    decoder = build(expected_share=1.0)
    smoothed, plain = Reinforce(entropy_weight=0.0, label_smoothing=0.1), Reinforce(entropy_weight=0.0)
    assert_close(smoothed(decoder, features, batch), CrossEntropy(label_smoothing=0.1)(decoder, features, batch))
    plain(decoder, features, batch)
    assert_close(smoothed.baseline, plain.baseline)
    with pytest.raises(InputError, match="label_smoothing"):
        Reinforce(label_smoothing=2.0)


def test_places_that_are_not_real_leave_gradients_finite(features, batch):
    assert not features.mask.all()
    for share in (0.0, 1.0):
        decoder = build(expected_share=share)
        Reinforce()(decoder, features, batch).backward()
        assert all(weight.grad.isfinite().all() for weight in decoder.parameters())


def test_on_average_its_gradient_is_that_of_the_expected_log_likelihood(features):
    """One word, two places: the expectation over the draw is a sum of two terms, whose gradient is exact."""
    decoder = build(expected_share=0.0)
    one = collate(("x",), [[[1, 2]]], pad=0)
    features = features.rows(torch.tensor([0]))
    score = decoder.attention.score.weight

    state = decoder.start(features)
    alpha = decoder.attention(state.hidden, state.memory)[0]
    log_p = []
    for place in range(2):
        y = decoder.embedding(torch.tensor([1]))
        z = decoder.gate(state.hidden).sigmoid() * features.grid[:, place]
        gates = decoder.from_word(y) + decoder.recurrence(state.hidden) + decoder.from_context(z)
        i, f, o, g = gates.chunk(4, 1)
        h = o.sigmoid() * (f.sigmoid() * state.cell + i.sigmoid() * g.tanh()).tanh()
        out = torch.tanh(y + decoder.output_hidden(h) + decoder.output_context(z))
        log_p.append(decoder.head(out).log_softmax(1)[0, 2])
    (expected,) = torch.autograd.grad(-(alpha[0] * log_p[0] + alpha[1] * log_p[1]), score)

    objective = Reinforce(entropy_weight=0.0)
    many = collate(("x",), [[[1, 2]] * 4000], pad=0)
    objective.baseline.fill_(sum(log_p).item() / 2)
    (gradient,) = torch.autograd.grad(objective(decoder, features, many), score)
    assert expected.norm() > 0.01
    assert (gradient - expected).norm() < 0.1 * expected.norm()
    assert one.lengths.tolist() == [1]
