"""Characters: a token for each, and UTF-8's bytes for one that was seen fewer than `min_count` times."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import tokenizers
from tokenizers import decoders, models

from captioning.errors import InputError
from captioning.text.tokenizer import SPECIALS, UNK, Tokenizer

log = logging.getLogger(__name__)


def train_characters(captions: Iterable[str], *, min_count: int = 5) -> Tokenizer:
    """A vocabulary of the characters (Unicode code points) that occur at least `min_count` times in `captions`.

    Every text comes back from its ids as it was, to the last blank: a character seen fewer than `min_count` times is
    written as the one to four bytes of its UTF-8, and none becomes `<unk>`. Bytes that a model chose and that are no
    UTF-8 are decoded as U+FFFD.

    Args:
        captions: the training split's captions, as published.
        min_count: characters below it are written as bytes.

    Raises:
        InputError: no character is left.
    """
    counts = Counter(chain.from_iterable(captions))
    kept = sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))
    if not kept:
        raise InputError(
            f"no character occurs {min_count} times in the training captions; lower text.min_count, or check data.root"
        )
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *kept]
    # A model of byte pairs that merges none: the one with bytes for what it lacks.
    model = models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token=UNK, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(list(SPECIALS))
    log.info("vocabulary: %d characters that occur at least %d times, and 256 bytes", len(kept), min_count)
    return Tokenizer(backend)
