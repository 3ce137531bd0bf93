"""m-RNN: a multimodal layer joins the image and the words at every step.

Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN). Mao, Xu, Yang, Wang, Huang, Yuille. ICLR
2015. arXiv:1412.6632. Official code: mRNN-CR; its TensorFlow successor (TF-mRNN) is a different model.

    w(t) = two embedding layers of the word
    r(t) = f2(U_r r(t-1) + w(t)),             f2 = ReLU                    (2)
    m(t) = g2(V_w w(t) + V_r r(t) + V_I I)                                 (3)
    g2(x) = 1.7159 tanh(2x / 3)                                            (4)

    paper    here               shape
    w(t)     embedding          (B, D); (2) has no matrix for it, so it is as wide as the recurrent layer
    U_r      recurrence         (D, D)
    V_w      from_word          (M, D)
    V_r      from_recurrent     (M, D)
    V_I      from_image         (M, F)
    m(t)     multimodal         (B, M)
    softmax  head               (B, V)

The paper does not say whether the embedding layers are linear. Its supplement counts 128 V + 128 * 256 weights for
them, which is the count of linear maps without biases. The paper does not mention biases; here they are off by default.
Published on Flickr8k (AlexNet features): BLEU-1..4 of 56.5/38.6/25.6/17.0, perplexity 24.39 (section 7.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, State, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import Hidden, unroll


def scaled_tanh(x: Tensor) -> Tensor:
    """Compute (4): g2(x) = 1.7159 tanh(2x / 3)."""
    return 1.7159 * torch.tanh(x * (2 / 3))


@dataclass(frozen=True)
class MRNNState(State):
    """r(t-1), (B, D), and V_I I, (B, M)."""

    recurrent: Tensor
    image: Tensor


class MRNN(Decoder[MRNNState]):
    """A ReLU recurrence over words; a layer before the softmax joins word, recurrence and image.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E, the width of the first embedding layer; the paper's is 128.
        hidden_size: D, the width of the second embedding layer and the recurrence; the paper's is 256.
        multimodal_size: M; the paper's is 512.
        image_dropout: on the image's feature.
        dropout: on w(t) and m(t).
        bias: whether the recurrence, the multimodal layer and the head have biases.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 128,
        hidden_size: int = 256,
        multimodal_size: int = 512,
        image_dropout: float = 0.0,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Sequential(
            nn.Embedding(vocab_size, embedding_size), nn.Linear(embedding_size, hidden_size, bias=False)
        )
        self.recurrence = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.from_word = nn.Linear(hidden_size, multimodal_size, bias=False)
        self.from_recurrent = nn.Linear(hidden_size, multimodal_size, bias=False)
        self.from_image = nn.Linear(feature_size, multimodal_size, bias=bias)
        self.image_dropout = nn.Dropout(image_dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(multimodal_size, vocab_size, bias=bias)

    def start(self, features: ImageFeatures) -> MRNNState:
        """Set r(0) = 0, and compute V_I I, which every step uses."""
        image = self.from_image(self.image_dropout(features.pooled))
        return MRNNState(image.new_zeros(image.shape[0], self.recurrence.in_features), image)

    def step(self, tokens: Tensor, state: MRNNState) -> tuple[Tensor, MRNNState]:
        """See `Decoder.step`."""
        w = self.dropout(self.embedding(tokens))
        r, _ = self._recur(w, (state.recurrent,))
        return self.head(self._multimodal(w, r, state.image)), MRNNState(r, state.image)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute m(t), (sum of lengths, M); only (2) needs a loop over time."""
        state = self.start(features).rows(image_index)
        w = inputs._replace(data=self.dropout(self.embedding(inputs.data)))
        r, _ = unroll(self._recur, w, (state.recurrent,))
        return self._multimodal(w.data, r.data, state.image.index_select(0, packed_rows(inputs)))

    def _recur(self, w: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        (r,) = state
        r = torch.relu(self.recurrence(r) + w)  # (2)
        return r, (r,)

    def _multimodal(self, w: Tensor, r: Tensor, image: Tensor) -> Tensor:
        m = scaled_tanh(self.from_word(w) + self.from_recurrent(r) + image)  # (3), (4)
        dropped: Tensor = self.dropout(m)
        return dropped
