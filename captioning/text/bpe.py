"""Subwords: byte pair encoding of words.

Rico Sennrich, Barry Haddow, Alexandra Birch. Neural Machine Translation of Rare Words with Subword Units. ACL 2016,
arXiv:1508.07909. Algorithm 1: a word is its characters, the last of them marked as the word's end; the pair of
neighbours that is the most frequent in all words becomes one symbol, again and again. A text is cut by the same
merges in the same order.

Differs: of pairs that are equally frequent, the first in the vocabulary is merged, for which the paper has no rule and
its code (subword-nmt) takes the last in the alphabet. The end's mark is part of the last character, as in that code
since 0.2; Algorithm 1 prints it as a symbol of its own. Punctuation is cut from words not by the Moses tokenizer,
whose cuts cannot be undone exactly, but with a joiner that says where: `don't go.` becomes `don ￭'￭ t go ￭.` first.
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
    """A vocabulary of characters and of what they make in `captions`: a frequent word is one token, a rare one several.

    Case and punctuation stay. A text comes back from its ids as it was, in any script, with or without spaces, but for

    - characters that do not occur in `captions`: each becomes `<unk>`, and one that ends a word takes the space after
      it along;
    - white space: a run of it, or a single one that is no space (a tab, U+00A0, U+3000), becomes one space between
      words and goes at the ends of the text;
    - the joiner `￭` (U+FFED), which becomes `■`;
    - upper case, with `lowercase`.

    Args:
        captions: the training split's captions, as published.
        vocab_size: V at most: the special tokens, each character twice (within a word and at its end), and merges.
        min_count: a pair that occurs less often is not merged.
        lowercase: whether texts are read in lower case.

    Raises:
        InputError: there is no text, or `vocab_size` is too small for its characters.
    """
    captions = list(captions)
    backend = _backend(models.BPE(end_of_word_suffix=END_OF_WORD), lowercase=lowercase)
    alphabet = _alphabet(backend, captions)
    # The trainer gives the ends of words their ids in an order that is another every time, and leaves out characters
    # that end no word: as "special" tokens they are all there, in order.
    first = [*SPECIALS, *(character + END_OF_WORD for character in alphabet)]
    least = len(first) + len(alphabet)
    if vocab_size < least:
        raise InputError(
            f"text.vocab_size={vocab_size}: the training captions have {len(alphabet)} characters (the joiner is one), "
            f"which are {least} tokens within words and at their ends, with the special ones; give at least {least}"
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
    log.info("vocabulary: %d characters, within words and at their ends, and %d merges", len(alphabet), len(merges))
    return Tokenizer(backend)


def _backend(model: models.BPE, *, lowercase: bool) -> tokenizers.Tokenizer:
    case = [normalizers.Lowercase()] if lowercase else []
    part_punctuation = [
        normalizers.Replace(JOINER, "■"),
        normalizers.Replace(Regex(r"(?<=\S)(?=[^\w\s])"), f" {JOINER}"),
        normalizers.Replace(Regex(r"(?<=[^\w\s])(?=\w)"), f"{JOINER} "),
    ]
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([*case, *part_punctuation])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    join_punctuation = decoders.Replace(Regex(f" ?{JOINER} ?"), "")
    backend.decoder = decoders.Sequence([decoders.BPEDecoder(END_OF_WORD), decoders.Fuse(), join_punctuation])
    return backend


def _alphabet(backend: tokenizers.Tokenizer, captions: list[str]) -> list[str]:
    """Every character of the captions' words, and the joiner, in order."""
    normalize, cut = backend.normalizer.normalize_str, backend.pre_tokenizer.pre_tokenize_str
    characters = {character for caption in captions for word, _ in cut(normalize(caption)) for character in word}
    if not characters:
        raise InputError("the training captions hold no text; check data.root")
    return sorted(characters | {JOINER})
