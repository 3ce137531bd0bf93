"""The tokenizer that data, search and bundles share, whatever its units are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models

from captioning.errors import InputError

SPECIALS = PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the four tokens that are no words: padding, begin, end, unknown."""

    pad: int
    bos: int
    eos: int
    unk: int


class Tokenizer:
    """Captions to ids and back, over a `tokenizers.Tokenizer`.

    Args:
        backend: a trained tokenizer whose vocabulary holds `<pad>`, `<bos>`, `<eos>` and `<unk>`.

    Attributes:
        special: the ids of the four special tokens, all different.

    Raises:
        InputError: a special token is missing, or two have one id.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        ids = {token: backend.token_to_id(token) for token in SPECIALS}
        found = [i for i in ids.values() if i is not None]
        if len(set(found)) < len(ids):
            raise InputError(
                "the tokenizer's vocabulary must hold four special tokens with four different ids, found "
                + ", ".join(f"{token}: {'none' if i is None else i}" for token, i in ids.items())
                + "; train it with captioning.text, which adds them"
            )
        if backend.decoder is None:
            backend.decoder = word_decoder()  # of files that were written before tokenizers named theirs
        backend.encode_special_tokens = True  # a caption that spells "<eos>" does not end there
        self.backend = backend
        self.special = SpecialTokens(*found)

    def __len__(self) -> int:
        """V, special tokens included."""
        return self.backend.get_vocab_size()

    @property
    def of_words(self) -> bool:
        """Whether a token is a whole word, and never a part of one."""
        return isinstance(self.backend.model, models.WordLevel)

    @property
    def vocabulary(self) -> list[str]:
        """Every token, in the order of the ids."""
        vocabulary = self.backend.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Ids of each caption, with `<bos>` first and `<eos>` last."""
        bos, eos = self.special.bos, self.special.eos
        return [
            [bos, *encoding.ids, eos]
            for encoding in self.backend.encode_batch_fast(list(captions), add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """The caption of `ids`: up to the first `<eos>`, without special tokens but `<unk>`."""
        said: list[int] = []
        for i in ids:
            if i == self.special.eos:
                break
            if i not in (self.special.pad, self.special.bos):
                said.append(int(i))
        text: str = self.backend.decode(said, skip_special_tokens=False)
        return text

    def token(self, i: int) -> str:
        """The token with id `i`."""
        token: str | None = self.backend.id_to_token(i)
        if token is None:
            raise InputError(f"token id {i} is outside the vocabulary of {len(self)}")
        return token

    def to_json(self) -> str:
        """The whole tokenizer as the `tokenizers` library's JSON."""
        text: str = self.backend.to_str(pretty=True)
        return text

    @classmethod
    def from_json(cls, text: str, *, source: str | Path = "tokenizer.json") -> Tokenizer:
        """Rebuild a tokenizer from `to_json`'s text.

        Raises:
            InputError: the text is not a tokenizer's; `source` is named.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises no narrower one
            raise InputError(f"{source} is not a tokenizer file of the tokenizers library: {error}") from error
        return cls(backend)


def word_decoder() -> decoders.Decoder:
    """Joins words by spaces, and clitics to the word before: `man 's`, `ca n't` to `man's`, `can't`."""
    clitic = Regex(r" (?=(?:n't|'(?:s|re|ve|ll|d|m))(?![^\W_]))")
    # WordPiece puts a space before each token but the first, and before none that has the prefix: no word has a space.
    return decoders.Sequence([decoders.WordPiece(prefix=" ", cleanup=False), decoders.Replace(clitic, "")])
