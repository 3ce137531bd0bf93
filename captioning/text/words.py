"""Word tokens: lower case and without punctuation, split as COCO's evaluation splits them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import tokenizers
from tokenizers import models, pre_tokenizers

from captioning.errors import InputError
from captioning.text.penn_treebank import ptb_normalizer
from captioning.text.tokenizer import SPECIALS, UNK, Tokenizer, word_decoder

log = logging.getLogger(__name__)


def train_words(captions: Iterable[str], *, min_count: int = 5, most: int | None = None) -> Tokenizer:
    """Build a vocabulary of the words that occur at least `min_count` times in `captions`, the most frequent first.

    Args:
        captions: the captions of the training split, unprocessed. Do not add other splits: words that occur only in an
            evaluated split must stay unknown.
        min_count: rarer words become `<unk>`. Show and Tell and NeuralTalk use 5.
        most: the largest number of words; the most frequent ones are kept. None keeps all. The word detectors of
            arXiv:1411.4952 use 1000.

    Raises:
        InputError: no word occurs `min_count` times.
    """
    counts = _count(captions)
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    tokens = [*SPECIALS, *frequent[:most]]
    backend = _backend({token: i for i, token in enumerate(tokens)})
    tokenizer = Tokenizer(backend)
    num_words = len(tokenizer) - len(SPECIALS)
    if not num_words:
        raise InputError(
            f"no word occurs {min_count} times in the training captions; lower text.min_count, or check data.root"
        )
    log.info("vocabulary: %d words that occur at least %d times", num_words, min_count)
    return tokenizer


def _backend(vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.normalizer = ptb_normalizer()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = word_decoder()
    backend.add_special_tokens(list(SPECIALS))
    return backend


def _count(captions: Iterable[str]) -> Counter[str]:
    """Count words. The rules see each different text between two spaces once, because they do not look across spaces.

    The library's trainer applies the rules to every caption, which takes 30 times as long.
    """
    texts = Counter(chain.from_iterable(caption.split(" ") for caption in captions))
    normalize, split = ptb_normalizer().normalize_str, pre_tokenizers.WhitespaceSplit().pre_tokenize_str
    counts = Counter[str]()
    for text, count in texts.items():
        for word, _ in split(normalize(text)):
            counts[word] += count
    return counts
