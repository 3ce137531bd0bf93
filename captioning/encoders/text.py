"""A recurrent encoder of sentences, for translation: a source text stands where a captioner has an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.text_transform import NO_TOKEN, TextTransform
from captioning.recurrent.layer import SequenceLayer


class TextEncoder(Encoder):
    """Embeds a sentence's words and reads them with a recurrent layer.

        x_j = W_e S_j;  h_j = RNN(x_j, h_{j-1})           j = 1 .. S, S_S = <eos>

    Its features are grid, the annotations h_j of all words; pooled, the output at the last word, and of two
    directions side by side each one's own last, [→h_S; ←h_1]; and final, the layer's state after the last word.

    Args:
        vocab_size: V of the source language.
        recurrent: builds the recurrent layer; one that reads in both directions too.
        embedding_size: E.
        hidden_size: F, the width of h_j.
        dropout: on x_j and h_j, in training.
        reverse: read the last word first (Sutskever et al. 2014, arXiv:1409.3215, section 3.3); `<eos>` stays last.

    Attributes:
        transform: set by whoever knows the source language's tokenizer, before use.
    """

    reads = "texts"
    transform: TextTransform

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
            texts: (I, S) int64, of `TextTransform`.

        Returns:
            pooled (I, F), grid (I, S, F), mask (I, S) and final (I, L, ..).
        """
        texts = self.in_reading_order(texts)
        mask = texts != NO_TOKEN
        lengths = mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)
        place = order.argsort()  # where each sentence stands in that order
        words = pack_padded_sequence(texts[order], lengths[order].cpu(), batch_first=True)
        x: PackedSequence = words._replace(data=self.dropout(self.embedding(words.data)))
        outputs, final = self.recurrent(x)
        h, _ = pad_packed_sequence(outputs, batch_first=True)
        h = h[place]
        last = h[torch.arange(len(h), device=h.device), lengths - 1]
        if 2 * final[0].shape[2] == self.feature_size:
            last = torch.cat([last[:, : self.feature_size // 2], h[:, 0, self.feature_size // 2 :]], 1)
        return ImageFeatures(
            pooled=self.dropout(last),
            grid=self.dropout(h),
            mask=mask,
            final=tuple(s[:, place].transpose(0, 1) for s in final),
        )

    def in_reading_order(self, texts: Tensor) -> Tensor:
        """Sentences (I, S) in the order in which the grid has their words: with `reverse`, all but `<eos>` mirrored."""
        if not self.reverse:
            return texts
        column = torch.arange(texts.shape[1], device=texts.device)
        mirrored = (texts != NO_TOKEN).sum(1, keepdim=True) - 2 - column
        return texts.gather(1, torch.where(mirrored >= 0, mirrored, column))
