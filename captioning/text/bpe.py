"""Subword tokens by byte pair encoding of words.

Rico Sennrich, Barry Haddow, Alexandra Birch. Neural Machine Translation of Rare Words with Subword Units. ACL 2016,
arXiv:1508.07909. Algorithm 1 starts with the characters of each word, the last one marked as the end of the word. It
repeatedly merges the most frequent pair of adjacent symbols into one symbol. New text is tokenized by the same merges
in the same order.

Differs: among equally frequent pairs, the one that comes first in the vocabulary is merged. The paper has no rule for
this; its code (subword-nmt) takes the last pair in alphabetical order.
Differs: the end-of-word mark is part of the last character, as in subword-nmt since 0.2. Algorithm 1 prints it as a
separate symbol.
Differs: punctuation is separated from words with a joiner, not by the Moses tokenizer, whose output cannot be
detokenized exactly. The joiner marks where a space was inserted: `don't go.` first becomes `don ￭'￭ t go ￭.`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from captioning.errors import InputError
from captioning.text.tokenizer import SPECIALS, UNK, Tokenizer

log = logging.getLogger(__name__)

END_OF_WORD = "</w>"
JOINER = "￭"


def train_bpe(
    captions: Iterable[str], *, vocab_size: int = 4000, min_count: int = 2, lowercase: bool = False
) -> Tokenizer:
    """Learn a subword vocabulary: a frequent word becomes one token, a rare word several.

    Case and punctuation are kept. Decoding the ids of a text gives the same text back, in any script, with these
    exceptions:

    - A character that does not occur in `captions` becomes `<unk>`. At the end of a word, it also loses the space
      after it.
    - White space between words becomes one space: a run of it, a tab, U+00A0, U+3000. White space at both ends of the
      text is removed.
    - The joiner `￭` (U+FFED) becomes `■`.
    - Upper case is lost with `lowercase`.

    Args:
        captions: the captions of the training split, unprocessed.
        vocab_size: the largest V: special tokens, each character twice (inside a word and at its end), and merges.
        min_count: pairs that occur less often are not merged.
        lowercase: whether to convert every text to lower case.

    Raises:
        InputError: the captions hold no text, or `vocab_size` is too small for their characters.
    """
    captions = list(captions)
    backend = _backend(models.BPE(end_of_word_suffix=END_OF_WORD), lowercase=lowercase)
    alphabet = _alphabet(backend, captions)
    # Left alone, the trainer orders the end-of-word characters differently in every run and omits characters that end
    # no word. Passed as "special" tokens, all of them are there and in order.
    first = [*SPECIALS, *(character + END_OF_WORD for character in alphabet)]
    least = len(first) + len(alphabet)
    if vocab_size < least:
        raise InputError(
            f"text.vocab_size={vocab_size}: too small for the {len(alphabet)} characters of the training captions "
            f"(each inside words and at their end) and the special tokens; give at least {least}"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=first,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    learned = json.loads(backend.to_str())["model"]
    merges = [(left, right) for left, right in learned["merges"]]
    model = models.BPE(learned["vocab"], merges, unk_token=UNK, end_of_word_suffix=END_OF_WORD)
    backend = _backend(model, lowercase=lowercase)
    backend.add_special_tokens(list(SPECIALS))
    log.info("vocabulary: %d characters, inside words and at their end, and %d merges", len(alphabet), len(merges))
    return Tokenizer(backend)


def _backend(model: models.BPE, *, lowercase: bool) -> tokenizers.Tokenizer:
    case = [normalizers.Lowercase()] if lowercase else []
    separate_punctuation = [
        normalizers.Replace(JOINER, "■"),
        normalizers.Replace(Regex(r"(?<=\S)(?=[^\w\s])"), f" {JOINER}"),
        normalizers.Replace(Regex(r"(?<=[^\w\s])(?=\w)"), f"{JOINER} "),
    ]
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([*case, *separate_punctuation])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    join_punctuation = decoders.Replace(Regex(f" ?{JOINER} ?"), "")
    backend.decoder = decoders.Sequence([decoders.BPEDecoder(END_OF_WORD), decoders.Fuse(), join_punctuation])
    return backend


def _alphabet(backend: tokenizers.Tokenizer, captions: list[str]) -> list[str]:
    """Collect every character of the captions' words and the joiner, sorted."""
    normalize, split = backend.normalizer.normalize_str, backend.pre_tokenizer.pre_tokenize_str
    characters = {character for caption in captions for word, _ in split(normalize(caption)) for character in word}
    if not characters:
        raise InputError("the training captions hold no text; check data.root")
    return sorted(characters | {JOINER})
