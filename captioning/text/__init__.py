"""Convert captions to token ids and back. Importing this package does not import torch."""

from captioning.text.bpe import train_bpe
from captioning.text.byte_bpe import train_byte_bpe
from captioning.text.characters import train_characters
from captioning.text.tokenizer import BOS, EOS, PAD, UNK, SpecialTokens, Tokenizer
from captioning.text.transfer import extend_vocabulary, keep_vocabulary
from captioning.text.words import train_words

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "SpecialTokens",
    "Tokenizer",
    "extend_vocabulary",
    "keep_vocabulary",
    "train_bpe",
    "train_byte_bpe",
    "train_characters",
    "train_words",
]
