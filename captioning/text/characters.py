"""Character tokens; a character seen fewer than `min_count` times is spelled by its UTF-8 bytes."""

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
    """Build a vocabulary of the characters (Unicode code points) that occur at least `min_count` times, and 256 bytes.

    A rarer character is encoded as the one to four bytes of its UTF-8, so no character becomes `<unk>`. Decoding the
    ids of a text gives exactly the same text back, with all white space. A model may generate bytes that are not valid
    UTF-8; these are decoded as U+FFFD.

    Args:
        captions: the captions of the training split, unprocessed.
        min_count: rarer characters are encoded as bytes.

    Raises:
        InputError: no character occurs `min_count` times.
    """
    counts = Counter(chain.from_iterable(captions))
    kept = sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))
    if not kept:
        raise InputError(
            f"no character occurs {min_count} times in the training captions; lower text.min_count, or check data.root"
        )
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *kept]
    # BPE without merges: of the library's models, only BPE falls back to bytes.
    model = models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token=UNK, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(list(SPECIALS))
    log.info("vocabulary: %d characters that occur at least %d times, and 256 bytes", len(kept), min_count)
    return Tokenizer(backend)
