"""The loss is the mean over real tokens, whatever the batch and the padding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, token_losses

EXACT = {"rtol": 1e-5, "atol": 1e-5}  # float32


def loss_and_gradients(decoder, features, batch, objective=None):
    decoder.zero_grad()
    loss = (objective or CrossEntropy())(decoder, features, batch)
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in decoder.parameters()]


def one_by_one(batch):
    """The batch's captions as batches of one row, with their images."""
    for row, image in enumerate(batch.image_index):
        ids = batch.tokens[row, : batch.lengths[row] + 1].tolist()
        yield image[None], collate(("x",), [[ids]], pad=0)


def test_the_loss_is_the_mean_of_minus_log_p_over_real_targets(one_decoder, features, batch):
    losses = []
    state = one_decoder.start(features).rows(batch.image_index)
    for t in range(7):
        logits, state = one_decoder.step(batch.tokens[:, t], state)
        probabilities = logits.double().softmax(1)
        losses += [-probabilities[row, batch.tokens[row, t + 1]].log() for row in range(5) if t < batch.lengths[row]]
    expected = torch.stack(losses)  # step by step, as packed
    assert_close(token_losses(one_decoder, features, batch).double(), expected, **EXACT)
    assert_close(CrossEntropy()(one_decoder, features, batch).double(), expected.mean(), **EXACT)


def test_padding_is_invisible(one_decoder, features, batch):
    expected = loss_and_gradients(one_decoder, features, batch)
    padding = torch.arange(batch.tokens.shape[1] + 5) > batch.lengths[:, None]
    wider = torch.nn.functional.pad(batch.tokens, (0, 5)).masked_fill(padding, 9)
    assert_close(loss_and_gradients(one_decoder, features, replace(batch, tokens=wider)), expected, **EXACT)


def test_captions_one_by_one_give_the_same_loss_and_gradients(one_decoder, features, batch):
    expected = loss_and_gradients(one_decoder, features, batch)
    one_decoder.zero_grad()
    loss = sum(token_losses(one_decoder, features.rows(image), single).sum() for image, single in one_by_one(batch))
    loss = loss / batch.lengths.sum()
    loss.backward()
    assert_close((loss.detach(), [w.grad for w in one_decoder.parameters()]), expected, **EXACT)


def test_shared_images_equal_one_row_per_caption(one_decoder, features, batch):
    expected = loss_and_gradients(one_decoder, features, batch)
    repeated = features.rows(batch.image_index)
    got = loss_and_gradients(one_decoder, repeated, replace(batch, image_index=torch.arange(5)))
    assert_close(got, expected, **EXACT)


def test_the_order_of_images_is_invisible(one_decoder, features, batch):
    expected = loss_and_gradients(one_decoder, features, batch)
    turned = features.rows(torch.tensor([2, 0, 1]))  # image i is at (i + 1) % 3
    got = loss_and_gradients(one_decoder, turned, replace(batch, image_index=(batch.image_index + 1) % 3))
    assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing_spreads_its_share_over_the_vocabulary(one_decoder, features, batch, smoothing):
    # Szegedy et al. 2015: q'(k) = (1 - e) [k = y] + e / V.
    log_probs = one_decoder(features, batch.inputs(), batch.image_index).log_softmax(1)
    targets = torch.nn.functional.one_hot(batch.targets().data, 11)
    expected = -(((1 - smoothing) * targets + smoothing / 11) * log_probs).sum(1).mean()
    assert_close(CrossEntropy(label_smoothing=smoothing)(one_decoder, features, batch), expected, **EXACT)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_label_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(InputError, match=rf"label_smoothing={smoothing} must be in 0\.\.1"):
        CrossEntropy(label_smoothing=smoothing)


def test_half_precision_logits_are_weighed_in_single(features, batch):
    class Constant(torch.nn.Module):
        head, vocab_size = torch.nn.Identity(), 11

        def hidden(self, features, inputs, image_index):
            return torch.tensor([[0.0, 0.1, *[-9.0] * 9]], dtype=torch.bfloat16).expand(17, 11)

    losses = token_losses(Constant(), features, batch)
    assert losses.dtype == torch.float32
    assert CrossEntropy()(Constant(), features, batch).dtype == torch.float32
