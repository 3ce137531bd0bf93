"""Preprocessing of a text encoder's sentences, as plain values that are saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

NO_TOKEN = -1
"""Padding of source sentences. It is not a token id, so an encoder need not know the tokenizer's `<pad>`."""


class TextTransform:
    """Turn sentences into token ids that end with `<eos>`.

    Args:
        tokenizer: tokenizer of the source language.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Turn sentences into (I, S) int64, padded with NO_TOKEN. An empty sentence is `<eos>` alone."""
        ids = [torch.tensor(own[1:]) for own in self.tokenizer.encode(texts)]
        return pad_sequence(ids, batch_first=True, padding_value=NO_TOKEN)

    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer in the tokenizers library's JSON format, as a string."""
        return {"tokenizer": self.tokenizer.to_json()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextTransform:
        """Create a transform from the values that `to_dict` returned.

        Raises:
            InputError: the values do not come from a text transform.
        """
        if set(values) != {"tokenizer"} or not isinstance(values["tokenizer"], str):
            raise InputError(f"text transform: expected a tokenizer's JSON as 'tokenizer', found {sorted(values)}")
        return cls(Tokenizer.from_json(values["tokenizer"], source="the text transform's tokenizer"))
