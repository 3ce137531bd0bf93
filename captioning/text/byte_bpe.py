"""Subwords of bytes: every text has a token for each of its parts, and comes back exactly.

Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei, Ilya Sutskever. Language Models are Unsupervised
Multitask Learners. 2019. Section 2.2: byte pair encoding of UTF-8's bytes, which crosses no border between letters,
digits, other signs and white space; a space belongs to the word behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from captioning.errors import InputError
from captioning.text.tokenizer import SPECIALS, Tokenizer

log = logging.getLogger(__name__)


def train_byte_bpe(captions: Iterable[str], *, vocab_size: int = 4000, min_count: int = 2) -> Tokenizer:
    """A vocabulary of the 256 bytes and of what they make in `captions`.

    Every text comes back from its ids as it was, to the last blank, in any script; none holds an `<unk>`. Ids that a
    model chose may spell bytes that are no UTF-8: they are decoded as U+FFFD.

    Args:
        captions: the training split's captions, as published.
        vocab_size: V at most: the special tokens, the bytes, and merges.
        min_count: a pair that occurs less often is not merged.

    Raises:
        InputError: there is no text, or `vocab_size` is too small for the bytes.
    """
    bytes_ = pre_tokenizers.ByteLevel.alphabet()
    least = len(SPECIALS) + len(bytes_)
    if vocab_size < least:
        raise InputError(f"text.vocab_size={vocab_size}: the bytes and the special tokens alone are {least}; give more")
    captions = list(captions)
    if not any(captions):
        raise InputError("the training captions hold no text; check data.root")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(SPECIALS),
        initial_alphabet=bytes_,
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    tokenizer = Tokenizer(backend)
    log.info("vocabulary: 256 bytes and %d merges", len(tokenizer) - least)
    return tokenizer
