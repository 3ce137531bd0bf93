"""Merge: the recurrent layer reads words alone; the softmax reads its output and the image.

Where to put the Image in an Image Caption Generator. Tanti, Gatt, Camilleri. Natural Language Engineering
2018. arXiv:1703.09137. `where_to_put` has the table of symbols and what the four decoders of this paper share.

    h_0 is learned                             i = W_I I / |I| + b_I
    h_t = GRU(e_t, h_{t-1})                    e_t = W_e S_{t-1}
    p_t = softmax(W_o [i ; h_t] + b_o)

The settings that "Where" found best: E = D = P = 128; weights from N(0, 1), clipped to ±0.1; dropout of 0.5 on h_t
alone. "Role" has an LSTM, h_0 = 0, Xavier's weights and no dropout.
Published on Flickr8k (VGG, mean of 3 runs): BLEU-1..4 of 60.0/41.3/27.3/17.8, METEOR 19.3, ROUGE-L 44.3, CIDEr 46.9;
in "Role", s = 128: 60.0/41.0/27.2/17.9, 19.2, 44.5, 46.0.
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
class MergeState(RecurrentState):
    """The recurrent layer's state, and i, (B, P)."""

    image: Tensor


class Merge(Decoder[MergeState]):
    """A recurrent layer over words alone, and a softmax over its output and the image.

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
        embedding_size: int = 128,
        hidden_size: int = 128,
        image_size: int = 128,
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
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.first = Start(self.recurrent, learned=learned_start)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(image_size + hidden_size, vocab_size)
        start_weights(self, std=init_std, clip=init_clip)

    def start(self, features: ImageFeatures) -> MergeState:
        """Compute h_0, and i for the softmax."""
        i = self.image(features.pooled)
        return MergeState(self.first(i.shape[0], like=i), i)

    def step(self, tokens: Tensor, state: MergeState) -> tuple[Tensor, MergeState]:
        """See `Decoder.step`."""
        e = self.embedding_dropout(self.embedding(tokens))
        h, recurrent = step(self.recurrent, e, state.recurrent)
        return self.head(torch.cat([state.image, self.dropout(h)], 1)), MergeState(recurrent, state.image)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute [i ; h_t], (sum of lengths, P + D)."""
        state = self.start(features).rows(image_index)
        e = inputs._replace(data=self.embedding_dropout(self.embedding(inputs.data)))
        h = self.dropout(run(self.recurrent, e, state.recurrent))
        return torch.cat([state.image.index_select(0, packed_rows(inputs)), h], 1)
