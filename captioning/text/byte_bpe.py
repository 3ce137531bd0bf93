"""Subword tokens by byte pair encoding of UTF-8 bytes: any text can be encoded and decoded exactly.

Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei, Ilya Sutskever. Language Models are Unsupervised
Multitask Learners. 2019. Section 2.2: no merge crosses a boundary between letters, digits, other characters and white
space. A space belongs to the word after it.
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
    """Learn a vocabulary of the 256 bytes and of merges of them.

    Decoding the ids of a text gives exactly the same text back, in any script and with all white space. No text
    contains `<unk>`. A model may generate ids whose bytes are not valid UTF-8; these are decoded as U+FFFD.

    Args:
        captions: the captions of the training split, unprocessed.
        vocab_size: the largest V: special tokens, bytes, and merges.
        min_count: pairs that occur less often are not merged.

    Raises:
        InputError: the captions hold no text, or `vocab_size` is too small for the bytes.
    """
    bytes_ = pre_tokenizers.ByteLevel.alphabet()
    least = len(SPECIALS) + len(bytes_)
    if vocab_size < least:
        raise InputError(
            f"text.vocab_size={vocab_size}: too small for the bytes and special tokens; give at least {least}"
        )
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
