"""The tokenizer class that data, search and bundles share, for words, subwords, bytes and characters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers

from captioning.errors import InputError
from captioning.text.penn_treebank import ptb_normalizer

SPECIALS = PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the four special tokens: padding, begin, end and unknown."""

    pad: int
    bos: int
    eos: int
    unk: int


class Tokenizer:
    """Convert captions to ids and back with a `tokenizers.Tokenizer`.

    Args:
        backend: a trained tokenizer whose vocabulary holds `<pad>`, `<bos>`, `<eos>` and `<unk>`.

    Attributes:
        special: the four different ids of the special tokens.

    Raises:
        InputError: a special token is missing, or two of them have the same id.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        ids = {token: backend.token_to_id(token) for token in SPECIALS}
        found = [i for i in ids.values() if i is not None]
        if len(set(found)) < len(ids):
            raise InputError(
                "the vocabulary must hold four special tokens with different ids, found "
                + ", ".join(f"{token}: {'none' if i is None else i}" for token, i in ids.items())
                + "; train the tokenizer with captioning.text"
            )
        if backend.decoder is None:
            backend.decoder = word_decoder()  # older tokenizer files name no decoder
        backend.encode_special_tokens = True  # a caption that spells "<eos>" does not end there
        self.backend = backend
        self.special = SpecialTokens(*found)

    def __len__(self) -> int:
        """Return V, special tokens included."""
        return self.backend.get_vocab_size()

    @property
    def is_word_level(self) -> bool:
        """Whether every token is a whole word."""
        return isinstance(self.backend.model, models.WordLevel)

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        vocabulary = self.backend.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Return the ids of each caption, with `<bos>` first and `<eos>` last."""
        ids, sizes = self.encode_flat(captions)
        ends = np.cumsum(sizes)
        return [ids[begin:end].tolist() for begin, end in zip(ends - sizes, ends, strict=True)]

    def encode_flat(self, captions: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return what `encode` returns in two arrays, which take a tenth of the memory of lists.

        Returns:
            the ids of all captions in a row, and the number of ids of each caption (N).
        """
        encode = self._encode_texts if self._splits_at_spaces else self._encode_whole
        words, counts = encode(captions)
        sizes = counts + 2
        ends = np.cumsum(sizes)
        ids = np.empty(sizes.sum(), dtype=np.int32)
        ids[ends - sizes], ids[ends - 1] = self.special.bos, self.special.eos
        is_word = np.ones(len(ids), dtype=bool)
        is_word[ends - sizes] = is_word[ends - 1] = False
        ids[is_word] = words
        return ids, sizes

    def _encode_whole(self, captions: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        encodings = self.backend.encode_batch_fast(list(captions), add_special_tokens=False)
        counts = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(ids, dtype=np.int32, count=counts.sum()), counts

    def _encode_texts(self, captions: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode each different text between two spaces once, which is many times as fast for a whole split."""
        number_of = defaultdict[str, int](count().__next__)  # numbers a text when it first occurs
        texts = np.fromiter(
            map(number_of.__getitem__, chain.from_iterable(caption.split(" ") for caption in captions)), dtype=np.int32
        )
        own, sizes = self._encode_whole(list(number_of))
        starts = (np.cumsum(sizes) - sizes)[texts]
        sizes = sizes[texts]
        ends = np.cumsum(sizes)
        ids = own[np.repeat(starts - (ends - sizes), sizes) + np.arange(sizes.sum())]
        num_texts = np.fromiter((caption.count(" ") + 1 for caption in captions), dtype=np.int64, count=len(captions))
        of_caption = np.repeat(np.arange(len(captions)), num_texts)
        return ids, np.bincount(of_caption, weights=sizes, minlength=len(captions)).astype(np.int64)

    @cached_property
    def _splits_at_spaces(self) -> bool:
        """Whether the tokens of a caption are those of the texts between its spaces.

        That holds for whole words by the rules of `ptb_normalizer`: a space is to each of them what the end is.
        """
        backend = self.backend
        return (
            self.is_word_level
            and isinstance(backend.pre_tokenizer, pre_tokenizers.WhitespaceSplit)
            and backend.normalizer is not None
            and backend.normalizer.__getstate__() == ptb_normalizer().__getstate__()
            and len(backend.get_added_tokens_decoder()) == len(SPECIALS)
        )

    def spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return where the tokens of each caption stand in it: the first character and the one after the last.

        The tokens are those of `encode` without `<bos>` and `<eos>`.
        """
        encodings = self.backend.encode_batch(list(captions), add_special_tokens=False)
        return [list(encoding.offsets) for encoding in encodings]

    def words(self, caption: str) -> list[str]:
        """Return the words of a caption, one for each token of `encode`, also those that are `<unk>` there.

        Raises:
            InputError: the tokens are not whole words.
        """
        if not self.is_word_level:
            raise InputError("the tokenizer splits words into parts, expected one of whole words, from text=words")
        backend = self.backend
        text = caption if backend.normalizer is None else backend.normalizer.normalize_str(caption)
        if backend.pre_tokenizer is None:
            return [text] if text else []
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption up to the first `<eos>`. Of the special tokens, only `<unk>` is kept."""
        kept: list[int] = []
        for i in ids:
            if i == self.special.eos:
                break
            if i not in (self.special.pad, self.special.bos):
                kept.append(int(i))
        text: str = self.backend.decode(kept, skip_special_tokens=False)
        return text

    def token(self, i: int) -> str:
        """Return the token with id `i`.

        Raises:
            InputError: the vocabulary has no such id.
        """
        token: str | None = self.backend.id_to_token(i)
        if token is None:
            raise InputError(f"token id {i} is outside the vocabulary of {len(self)}")
        return token

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON of the `tokenizers` library."""
        text: str = self.backend.to_str(pretty=True)
        return text

    @classmethod
    def from_json(cls, text: str, *, source: str | Path = "tokenizer.json") -> Tokenizer:
        """Rebuild a tokenizer from the output of `to_json`.

        Raises:
            InputError: the text does not describe a tokenizer, its ids are not 0 to V - 1, or it pads or truncates. The
                message names `source`.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(text)
            ids = sorted(backend.get_vocab().values())
        except BaseException as error:  # damaged files raise Exception itself, or a panic of the library's Rust code
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(
                f"{source}: expected a file of the tokenizers library ({str(error)[:200]}); train the tokenizer again"
            ) from error
        if ids != list(range(len(ids))):
            raise InputError(
                f"{source}: the ids of {len(ids)} tokens must be 0 to {len(ids) - 1}, found {ids[0]} to {ids[-1]}; the "
                "file is damaged: get it again"
            )
        if backend.padding is not None or backend.truncation is not None:
            raise InputError(
                f"{source}: expected a tokenizer that neither pads nor truncates; train the tokenizer again"
            )
        return cls(backend)


def word_decoder() -> decoders.Decoder:
    """Join words with spaces and clitics without: `man 's`, `ca n't` become `man's`, `can't`."""
    clitic = Regex(r" (?=(?:n't|'(?:s|re|ve|ll|d|m))(?![^\W_]))")
    # WordPiece puts a space before each token except the first and those with the prefix. No word contains a space,
    # so no word has this prefix.
    return decoders.Sequence([decoders.WordPiece(prefix=" ", cleanup=False), decoders.Replace(clitic, "")])
