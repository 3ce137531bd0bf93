"""Par-inject: the recurrent layer reads the image with every word.

Where to put the Image in an Image Caption Generator. Tanti, Gatt, Camilleri. Natural Language Engineering
2018. arXiv:1703.09137. `where_to_put` has the table of symbols and what the four decoders of this paper share.

    h_0 is learned                             i = W_I I / |I| + b_I
    h_t = GRU([i ; e_t], h_{t-1})              e_t = W_e S_{t-1}
    p_t = softmax(W_o h_t + b_o)

The settings that "Where" found best: E = D = P = 256; weights from N(0, 1), clipped to ±0.1; dropout of 0.5 on
I / |I|, e_t and h_t; L2 of 1e-8. "Role" calls this model inject; there it has an LSTM, h_0 = 0, Xavier's
weights, no dropout.
Published on Flickr8k (VGG, mean of 3 runs): BLEU-1..4 of 61.1/42.4/28.7/19.1, METEOR 19.3, ROUGE-L 44.8, CIDEr 47.5;
in "Role", s = 512: 60.3/41.9/28.3/18.8, 19.2, 44.2, 46.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, packed_rows
from captioning.decoders.recurrence import RecurrentState, Start, run, step
from captioning.decoders.where_to_put import ImageVector, start_weights
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import RecurrentFactory


@dataclass(frozen=True)
class ParInjectState(RecurrentState):
    """The recurrent layer's state, and i, (B, P)."""

    image: Tensor


class ParInject(Decoder[ParInjectState]):
    """A recurrent layer whose every input is the image and a word.

    Args:
        feature_size: F.
        vocab_size: V.
        recurrent: builds the recurrent layer; "Where" has `ChoGRU` with biases, "Role" an LSTM.
        embedding_size: E.
        hidden_size: D.
        image_size: P.
        learned_start: whether h_0 is learned, as in "Where", or zero, as in "Role".
        normalise: whether the feature is scaled to length 1 first.
        image_dropout: on the feature.
        embedding_dropout: on e_t.
        dropout: on h_t before the head.
        init_std: the standard deviation of the initial weights and h_0; None for Xavier's.
        init_clip: the initial weights and h_0 are clipped to ± this; None for no clipping.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 256,
        hidden_size: int = 256,
        image_size: int = 256,
        learned_start: bool = True,
        normalise: bool = True,
        image_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        dropout: float = 0.0,
        init_std: float | None = 1.0,
        init_clip: float | None = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.image = ImageVector(feature_size, image_size, normalise=normalise, dropout=image_dropout)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.recurrent = recurrent(image_size + embedding_size, hidden_size)
        self.first = Start(self.recurrent, learned=learned_start)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)
        start_weights(self, std=init_std, clip=init_clip)

    def start(self, features: ImageFeatures) -> ParInjectState:
        """Compute h_0, and i for every step."""
        i = self.image(features.pooled)
        return ParInjectState(self.first(i.shape[0], like=i), i)

    def step(self, tokens: Tensor, state: ParInjectState) -> tuple[Tensor, ParInjectState]:
        """See `Decoder.step`."""
        h, recurrent = step(self.recurrent, self._read(tokens, state.image), state.recurrent)
        return self.head(self.dropout(h)), ParInjectState(recurrent, state.image)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute h_t, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        images = state.image.index_select(0, packed_rows(inputs))
        x = inputs._replace(data=self._read(inputs.data, images))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped

    def _read(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Compute [i ; e_t]."""
        return torch.cat([image, self.embedding_dropout(self.embedding(tokens))], 1)
