"""Cross-entropy and the penalty on regions that get too little or too much attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import Att2in
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, DoublyStochastic


def build():
    torch.manual_seed(0)
    return Att2in(feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19, attention_size=23).double()


def doubled(features):
    return type(features)(features.pooled.double(), features.grid.double(), features.mask)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_adds_the_captions_mean_of_what_weights_lack_to_one(features, batch, smoothing):
    decoder, features = build(), doubled(features)
    attended = decoder.attend(features, batch.inputs(), batch.image_index)
    penalty = 0.0
    for row, alpha in enumerate(unpack_sequence(batch.inputs()._replace(data=attended.attention))):
        for region in range(2):
            if features.mask[batch.image_index[row], region]:
                penalty += (1 - sum(alpha[:, region].tolist())) ** 2 / 5
    plain = CrossEntropy(label_smoothing=smoothing)(decoder, features, batch)
    assert_close(DoublyStochastic(weight=0.0, label_smoothing=smoothing)(decoder, features, batch), plain)
    loss = DoublyStochastic(weight=0.7, label_smoothing=smoothing)(decoder, features, batch)
    assert_close(loss.item(), plain.item() + 0.7 * penalty, rtol=0, atol=1e-6)


def test_its_gradient_reaches_the_attention(features, batch):
    decoder, features = build(), doubled(features)
    gradients = []
    for weight in (0.0, 1.0):
        decoder.zero_grad()
        DoublyStochastic(weight=weight)(decoder, features, batch).backward()
        gradients.append(decoder.attention.score.weight.grad.clone())
    assert not gradients[0].allclose(gradients[1])


def test_label_smoothing_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"label_smoothing=1.1 must be in 0\.\.1"):
        DoublyStochastic(label_smoothing=1.1)
