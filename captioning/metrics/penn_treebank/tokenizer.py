"""The tokenizer of COCO caption evaluation without Java: the Penn Treebank rules of Stanford's PTBTokenizer.

The tokens are those of the Java program, at some two million captions a minute.

Differs: where Java and Python have different versions of Unicode, in the lower case of letters that only one of them
has. No letter newer than Unicode 6.2 is part of a word; such a letter is kept only in an address, tag or smiley.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TypeVar

from captioning.errors import InputError
from captioning.metrics.originals.java import one_line
from captioning.metrics.penn_treebank.case import lower
from captioning.metrics.penn_treebank.lexer import Lexer
from captioning.metrics.penn_treebank.rules import LINE_END, NAMES, RULES, UNKNOWN

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

NAME = "Penn Treebank rules of Stanford CoreNLP 3.4.1 in Python, lower case, punctuation removed"

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""What pycocoevalcap removes from the tokens, which are in lower case by then."""

# Words of ASCII letters, a space after each and then a letter. No rule goes on from a letter over a space, nor from a
# space to a letter, so that such words are cut each by itself.
_PLAIN = re.compile("(?:[A-Za-z]+ )+(?=[A-Za-z])")
_MORE_THAN_16_BITS = re.compile("[\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def tokenize(captions: Mapping[K, Sequence[str]]) -> dict[K, list[str]]:
    """Tokenize captions as `originals.ptb.tokenize` does by Java: the same tokens, the same order of captions.

    All captions are one text with a caption a line. As there, the last token of a caption can depend on the one that
    follows ("plan a." is two tokens before some), so results are compared in one order of the captions.

    Args:
        captions: the captions of each key, such as the references of an image.

    Returns:
        for each key the tokens of its captions, joined by spaces; "" where no token is left. Brackets stay,
        as "-lrb-" and so on: pycocoevalcap's list of punctuation has them in upper case.

    Raises:
        InputError: a caption is not valid Unicode.
    """
    lines = [one_line(caption) for group in captions.values() for caption in group]
    tokenized = iter(_tokenize_lines(lines) if lines else [])
    return {key: list(islice(tokenized, len(group))) for key, group in captions.items()}


def _tokenize_lines(lines: list[str]) -> list[str]:
    found: list[list[str]] = [[]]
    unknown: list[str] = []
    text, at, lexer = _in_16_bits(lines), 0, _lexer()
    while at < len(text):
        if plain := _PLAIN.match(text, at):
            for word in plain[0].split():
                found[-1] += _word(word)
            at = plain.end()
            continue
        rule, matched, at = lexer.token(text, at)
        token = rule.form(matched)
        if token == LINE_END:
            found.append([])
        elif token is not None:
            first, *others = lower(_in_full(token)).split("\n")  # a tag can run over captions
            found[-1].append(first)
            found.extend([other] for other in others)
        elif rule is UNKNOWN:
            unknown.append(matched)
    if unknown:
        deleted = _in_full("".join(unknown))
        logger.warning(
            "the Penn Treebank tokenizer deleted %d characters that it does not know, first %r",
            len(deleted),
            deleted[0],
        )
    return [_without_punctuation(tokens) for tokens in found]


def _without_punctuation(tokens: list[str]) -> str:
    # Cut at spaces once more, as pycocoevalcap does: a smiley may hold some.
    return " ".join(token for token in " ".join(tokens).rstrip().split(" ") if token not in PUNCTUATION)


@cache
def _word(word: str) -> list[str]:
    """The tokens of a word of ASCII letters between spaces: most of a caption is such words, and few different ones."""
    return [lower(token) for rule, text in _lexer().tokens(word + " ") if (token := rule.form(text)) is not None]


@cache
def _lexer() -> Lexer:
    return Lexer(RULES, NAMES)


def _in_16_bits(lines: list[str]) -> str:
    """The lines as Java has them: a character of more than 16 bits is a pair of surrogates."""
    text = "\n".join(lines)
    if half := _SURROGATE.search(text):
        wrong = next(line for line in lines if half[0] in line)
        raise InputError(
            f"expected captions of valid Unicode, found half of a surrogate pair ({half[0]!r}) "
            f"in the caption {wrong!r}; remove or repair it"
        )
    return _MORE_THAN_16_BITS.sub(lambda match: _pair(ord(match[0]) - 0x10000), text)


def _pair(code: int) -> str:
    return chr(0xD800 + (code >> 10)) + chr(0xDC00 + (code & 0x3FF))


def _in_full(token: str) -> str:
    return token if token.isascii() else token.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
