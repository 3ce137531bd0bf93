"""Strings to token ids and back."""

from captioning.text.tokenizer import BOS, EOS, PAD, UNK, SpecialTokens, Tokenizer
from captioning.text.words import train_words

__all__ = ["BOS", "EOS", "PAD", "UNK", "SpecialTokens", "Tokenizer", "train_words"]
