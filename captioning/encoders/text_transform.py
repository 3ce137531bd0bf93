"""How a sentence becomes a text encoder's input, as plain values that travel with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

NO_TOKEN = -1
"""Padding of source sentences: the id of no token, so that an encoder need not know its tokenizer's."""


class TextTransform:
    """The ids of sentences' words, and `<eos>`.

    Args:
        tokenizer: of the source language.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Turn sentences into (I, S) int64, padded by NO_TOKEN; an empty one is `<eos>` alone."""
        ids = [torch.tensor(own[1:]) for own in self.tokenizer.encode(texts)]
        return pad_sequence(ids, batch_first=True, padding_value=NO_TOKEN)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: the tokenizers library's own format, as text."""
        return {"tokenizer": self.tokenizer.to_json()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextTransform:
        """Make a transform from what `to_dict` gave.

        Raises:
            InputError: it is none of a text's.
        """
        if set(values) != {"tokenizer"} or not isinstance(values["tokenizer"], str):
            raise InputError(f"text transform: expected a tokenizer's JSON as 'tokenizer', found {sorted(values)}")
        return cls(Tokenizer.from_json(values["tokenizer"], source="the text transform's tokenizer"))
