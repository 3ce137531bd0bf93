"""Scheduled sampling: what is read, and that the loss is that of training step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.objectives import CrossEntropy, Exponential, Linear, ScheduledSampling
from captioning.objectives.scheduled_sampling import mixed_inputs

ALWAYS_TRUE, NEVER_TRUE = Exponential(k=1), Linear(k=0, c=0, least=0)


def test_with_true_words_alone_it_is_cross_entropy_bit_for_bit(one_decoder: Any, features: Any, batch: Any) -> None:
    found = []
    for objective in (ScheduledSampling(decay=ALWAYS_TRUE, label_smoothing=0.1), CrossEntropy(label_smoothing=0.1)):
        one_decoder.zero_grad()
        loss = objective(one_decoder, features, batch)
        loss.backward()
        found.append([loss, *(weight.grad for weight in one_decoder.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_loss_and_its_gradient_are_those_of_step_by_step_training(
    one_decoder: Any, features: Any, batch: Any, share: float
) -> None:
    decoder = one_decoder.double()
    features = features.cast(torch.float64)
    torch.manual_seed(1)
    read = mixed_inputs(decoder, features, batch, share)
    torch.manual_seed(1)
    found = ScheduledSampling(decay=Linear(k=1 - share, c=0, least=0))(decoder, features, batch)
    gradients = torch.autograd.grad(found, list(decoder.parameters()))

    rows = unpack_sequence(read)
    losses, state = [], decoder.start(features).rows(batch.image_index)
    for t in range(len(read.batch_sizes)):
        tokens = torch.tensor([row[min(t, len(row) - 1)] for row in rows])
        logits, state = decoder.step(tokens, state)
        log_probs = logits.log_softmax(1)
        losses += [-log_probs[n, batch.tokens[n, t + 1]] for n in range(len(rows)) if t < batch.lengths[n]]
    expected = torch.stack(losses).mean()
    assert_close(found, expected, rtol=0, atol=1e-10)
    right = torch.autograd.grad(expected, list(decoder.parameters()))
    assert_close(gradients, right, rtol=0, atol=1e-10)


def test_the_words_are_drawn_from_the_decoder_s_distribution_given_what_it_has_read(
    one_decoder: Any, features: Any, batch: Any
) -> None:
    true, counts, expected = batch.inputs(), torch.zeros(11), torch.zeros(11)
    second = int(true.batch_sizes[0])  # where the words of the second step are
    logits, _ = one_decoder.step(true.data[:1], one_decoder.start(features).rows(batch.image_index).first(1))
    expected = logits[0].double().softmax(0)
    torch.manual_seed(0)
    for _ in range(400):
        counts[mixed_inputs(one_decoder, features, batch, 1.0).data[second]] += 1
    statistic = ((counts - 400 * expected) ** 2 / (400 * expected).clamp_min(1e-9)).sum()
    assert statistic < 40  # chi-square with 10 degrees of freedom: p < 1e-4


def test_the_first_word_is_true_and_others_are_with_their_probability(
    one_decoder: Any, features: Any, batch: Any
) -> None:
    true = batch.inputs()
    torch.manual_seed(0)
    differing = []
    for _ in range(60):
        read = mixed_inputs(one_decoder, features, batch, 0.25)
        assert torch.equal(read.batch_sizes, true.batch_sizes)
        first = int(true.batch_sizes[0])
        assert torch.equal(read.data[:first], true.data[:first])
        differing.append((read.data != true.data)[first:].double().mean())
    assert 0.1 < torch.stack(differing).mean() <= 0.27  # some draws are the true word


def test_steps_are_counted_in_training_alone_and_saved(one_decoder: Any, features: Any, batch: Any) -> None:
    objective = ScheduledSampling(decay=NEVER_TRUE)
    objective(one_decoder, features, batch)
    objective.eval()(one_decoder, features, batch)
    assert list(objective.state_dict()) == ["step"] and int(objective.step) == 1


def test_weights_get_gradients_in_mixed_precision(one_decoder: Any, features: Any, batch: Any) -> None:
    decoder = one_decoder.float()
    expected = [weight.grad is not None for weight in with_gradients(CrossEntropy(), decoder, features, batch)]
    found = with_gradients(ScheduledSampling(decay=NEVER_TRUE), decoder, features, batch)
    assert [weight.grad is not None for weight in found] == expected


def with_gradients(objective: Any, decoder: Any, features: Any, batch: Any) -> list[torch.nn.Parameter]:
    decoder.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective(decoder, features, batch).backward()
    return list(decoder.parameters())


def test_label_smoothing_outside_its_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"label_smoothing=2 must be in 0\.\.1"):
        ScheduledSampling(decay=ALWAYS_TRUE, label_smoothing=2)
