"""A recurrent encoder of sentences, for translation. The source sentence takes the place of the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.text_transform import NO_TOKEN
from captioning.errors import InputError
from captioning.recurrent.layer import SequenceLayer


class TextEncoder(Encoder):
    """Encode a sentence by an embedding and a recurrent layer.

        x_j = W_e S_j;  h_j = RNN(x_j, h_{j-1})           j = 1 .. S; the last token S_S is <eos>

    The grid holds the annotations h_j of all tokens. Pooled is the output at the last token, h_S; for a bidirectional
    layer it is [→h_S; ←h_1]. Final is the layer's state after the last token.

    It has no transform of its own: the source language's tokenizer is not part of the encoder.

    Args:
        vocab_size: V of the source language.
        recurrent: builds the recurrent layer, which may be bidirectional.
        embedding_size: E.
        hidden_size: F, the width of h_j.
        dropout: on x_j and h_j, in training.
        reverse: read the last word first (Sutskever et al. 2014, arXiv:1409.3215, section 3.3). `<eos>` stays last.
    """

    reads = "texts"

    def __init__(
        self,
        *,
        vocab_size: int,
        recurrent: Callable[[int, int], SequenceLayer],
        embedding_size: int = 256,
        hidden_size: int = 256,
        dropout: float = 0.0,
        reverse: bool = False,
    ) -> None:
        super().__init__("text", grid=True)
        self.vocab_size, self.reverse, self.feature_size = vocab_size, reverse, hidden_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, texts: Tensor) -> ImageFeatures:
        """Encode sentences.

        Args:
            texts: (I, S) int64, from `TextTransform`.

        Returns:
            pooled (I, F), grid (I, S, F), mask (I, S) and final (I, L, ..).

        Raises:
            InputError: a sentence has no token.
        """
        texts = self.in_reading_order(texts)
        mask = texts != NO_TOKEN
        lengths = mask.sum(1)
        if (lengths == 0).any():
            empty = int((lengths == 0).sum())
            raise InputError(f"{empty} of {len(texts)} sentences have no token; end each with <eos>")
        order = lengths.argsort(descending=True, stable=True)
        rank = order.argsort()  # each sentence's row in that order
        words = pack_padded_sequence(texts[order], lengths[order].cpu(), batch_first=True)
        x: PackedSequence = words._replace(data=self.dropout(self.embedding(words.data)))
        outputs, final = self.recurrent(x)
        h, _ = pad_packed_sequence(outputs, batch_first=True, total_length=texts.shape[1])
        h = h[rank]
        last = h[torch.arange(len(h), device=h.device), lengths - 1]
        if 2 * final[0].shape[2] == self.feature_size:
            last = torch.cat([last[:, : self.feature_size // 2], h[:, 0, self.feature_size // 2 :]], 1)
        return ImageFeatures(
            pooled=self.dropout(last),
            grid=self.dropout(h),
            mask=mask,
            final=tuple(s[:, rank].transpose(0, 1) for s in final),
        )

    def in_reading_order(self, texts: Tensor) -> Tensor:
        """Return sentences (I, S) in the token order of the grid. `reverse` reverses all tokens but `<eos>`."""
        if not self.reverse:
            return texts
        column = torch.arange(texts.shape[1], device=texts.device)
        mirrored = (texts != NO_TOKEN).sum(1, keepdim=True) - 2 - column
        return texts.gather(1, torch.where(mirrored >= 0, mirrored, column))
