"""The vocabulary of a model that learns from further captions: kept as it is, or extended by their words."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable

from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_NAMED = 10
"""How many unknown words the log names."""


def keep_vocabulary(tokenizer: Tokenizer, captions: Iterable[str]) -> Tokenizer:
    """Return the tokenizer, and log how many words of the captions it does not know, with the most frequent ones.

    Subwords spell words that they do not know, so nothing is logged for them.

    Args:
        tokenizer: the model's.
        captions: the captions of the training split.
    """
    if tokenizer.is_word_level:
        _log_unknown(tokenizer, _count(tokenizer, captions), advice="vocabulary=extend adds those that occur often")
    return tokenizer


def extend_vocabulary(tokenizer: Tokenizer, captions: Iterable[str], *, min_count: int = 2) -> Tokenizer:
    """Add the words that occur at least `min_count` times in the captions and that the tokenizer does not know.

    The ids of the known tokens stay. The new words follow them, the most frequent first.

    Args:
        tokenizer: the model's, of whole words.
        captions: the captions of the training split. Words of other splits must stay unknown.
        min_count: rarer words stay unknown. The log counts them, and names the most frequent ones.

    Raises:
        InputError: the tokens are not whole words.
    """
    if not tokenizer.is_word_level:
        raise InputError(
            "vocabulary=extend: the model's tokens are parts of words, which spell new words too; set vocabulary=keep"
        )
    counts = _count(tokenizer, captions)
    known = set(tokenizer.vocabulary)
    new = sorted((w for w, n in counts.items() if n >= min_count and w not in known), key=lambda w: (-counts[w], w))
    saved = json.loads(tokenizer.to_json())
    saved["model"]["vocab"] |= {word: i for i, word in enumerate(new, len(tokenizer))}
    extended = Tokenizer.from_json(json.dumps(saved))
    log.info(
        "vocabulary: %d words of the model, and %d new ones that occur at least %d times",
        len(known),
        len(new),
        min_count,
    )
    _log_unknown(extended, counts, advice="vocabulary.min_count=1 adds all")
    return extended


def _count(tokenizer: Tokenizer, captions: Iterable[str]) -> Counter[str]:
    return Counter(word for caption in captions for word in tokenizer.words(caption))


def _log_unknown(tokenizer: Tokenizer, counts: Counter[str], *, advice: str) -> None:
    known = set(tokenizer.vocabulary)
    unknown = Counter({word: count for word, count in counts.items() if word not in known})
    if not unknown:
        log.info("the vocabulary has every word of the training captions")
        return
    log.warning(
        "%.1f %% of the words in the training captions are not in the vocabulary and become <unk>; different ones: %d, "
        "the most frequent: %s; %s",
        100 * unknown.total() / counts.total(),
        len(unknown),
        ", ".join(f"{word} ({count})" for word, count in unknown.most_common(_NAMED)),
        advice,
    )
