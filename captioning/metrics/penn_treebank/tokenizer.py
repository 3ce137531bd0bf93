"""Tokenize captions by the Penn Treebank rules of Stanford's PTBTokenizer, as COCO's evaluation does, without Java.

The tokens equal those of the Java program. The speed is about two million captions per minute.

Differs: Java and Python may have different versions of Unicode. If only one of them has a letter, its lower case may
differ. As in the Java program, letters newer than Unicode 6.2 are kept only in addresses, tags and smileys.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from itertools import chain, islice
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
"""The tokens that pycocoevalcap removes after converting all tokens to lower case."""

# Words of ASCII letters, each followed by a space and a letter. No rule matches across a space between two letters, so
# these words can be tokenized one by one.
_PLAIN = re.compile("(?:[A-Za-z]+ )+(?=[A-Za-z])")
_LONGEST_ENDING = 24  # characters
_MORE_THAN_16_BITS = re.compile("[\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def tokenize(captions: Mapping[K, Sequence[str]]) -> dict[K, list[str]]:
    """Tokenize captions; the result equals that of the Java program in `originals.ptb.tokenize`.

    As in the Java program, all captions form one text with one caption per line. The last token of a caption can
    therefore depend on the next caption: "plan a." is two tokens before some captions and three before others. Compare
    results only between runs with the same order of captions.

    Args:
        captions: the captions of each key, such as the references of an image.

    Returns:
        for each key the tokens of its captions, joined by spaces; "" if no token is left. Brackets remain as "-lrb-"
        and so on, because pycocoevalcap's list of punctuation has them in upper case.

    Raises:
        InputError: a caption is not valid Unicode.
    """
    lines = [one_line(caption) for group in captions.values() for caption in group]
    tokenized = iter(_tokenize_lines(lines) if lines else [])
    return {key: list(islice(tokenized, len(group))) for key, group in captions.items()}


def _tokenize_lines(lines: list[str]) -> list[str]:
    found: list[list[str] | str] = [[]]
    unknown: list[str] = []
    text, at, lexer = _in_16_bits(lines), 0, _lexer()
    begins = True  # a caption
    while at < len(text):
        end = text.find("\n", at) if begins else -1
        if end >= 0 and (caption := _simple_caption(text, at, end)) is not None:
            found[-1] = caption
            found.append([])
            at = end + 1
            continue
        begins = False
        last = found[-1]
        assert isinstance(last, list)
        if plain := _PLAIN.match(text, at):
            last.extend(chain.from_iterable(map(_word, plain[0].split())))
            at = plain.end()
            continue
        rule, matched, at = lexer.token(text, at)
        token = rule.form(matched)
        if token == LINE_END:
            found.append([])
            begins = True
        elif token is not None:
            first, *others = lower(_in_full(token)).split("\n")  # a tag can span captions
            last.append(first)
            found.extend([other] for other in others)
        elif rule is UNKNOWN:
            unknown.append(matched)
    if unknown:
        deleted = _in_full("".join(unknown))
        logger.warning(
            "the Penn Treebank tokenizer deleted %d unknown characters, the first is %r",
            len(deleted),
            deleted[0],
        )
    return [tokens if isinstance(tokens, str) else _without_punctuation(tokens) for tokens in found]


def _simple_caption(text: str, at: int, end: int) -> str | None:
    """Tokenize a caption of plain words that ends as others do, such as "A man rides a horse."; None for others.

    Args:
        text: the captions, a line each.
        at: where the caption begins.
        end: where its line ends.
    """
    plain = _PLAIN.match(text, at)
    begin = plain.end() if plain else at
    if end - begin > _LONGEST_ENDING or (tokens := _ending(text[begin : end + 2])) is None:
        return None
    words = plain[0] if plain else ""  # each is followed by a space
    if not all(map(_stays_whole, words.split())):
        return None
    return (words.lower() + " ".join(tokens)).rstrip(" ")


@cache
def _stays_whole(word: str) -> bool:
    return _word(word) == [word.lower()]


@cache
def _ending(text: str) -> tuple[str, ...] | None:
    """Tokenize the end of a caption, the line feed and the first character of the next caption, all in ASCII.

    Returns:
        The tokens without punctuation; None if they are unusual, or could depend on what follows this text.
    """
    lexer, at, tokens, line_end = _lexer(), 0, list[str](), text.index("\n")
    token: str | None = None
    while at <= line_end:
        if not text.isascii() or not lexer.is_decided(text, at):
            return None
        rule, matched, at = lexer.token(text, at)
        token = rule.form(matched)
        if rule is UNKNOWN or (token is not None and token != LINE_END and token.split() != [token]):
            return None
        if token is not None and token != LINE_END:
            tokens.append(lower(token))
    return (
        tuple(token for token in tokens if token not in PUNCTUATION)
        if (at, token) == (line_end + 1, LINE_END)
        else None
    )


def _without_punctuation(tokens: list[str]) -> str:
    # Split at spaces again, as pycocoevalcap does: a smiley may contain spaces.
    return " ".join(token for token in " ".join(tokens).rstrip().split(" ") if token not in PUNCTUATION)


@cache
def _word(word: str) -> list[str]:
    """Tokenize a word of ASCII letters between spaces. Captions consist mostly of a few such words, hence the cache."""
    return [lower(token) for rule, text in _lexer().tokens(word + " ") if (token := rule.form(text)) is not None]


@cache
def _lexer() -> Lexer:
    return Lexer(RULES, NAMES)


def _in_16_bits(lines: list[str]) -> str:
    """Join lines as Java stores them: a character above 16 bits becomes a surrogate pair."""
    text = "\n".join(lines)
    if half := _SURROGATE.search(text):
        wrong = next(line for line in lines if half[0] in line)
        raise InputError(
            f"expected valid Unicode, found half of a surrogate pair ({half[0]!r}) "
            f"in the caption {wrong[:60]!r}; correct or remove it"
        )
    return _MORE_THAN_16_BITS.sub(lambda match: _pair(ord(match[0]) - 0x10000), text)


def _pair(code: int) -> str:
    return chr(0xD800 + (code >> 10)) + chr(0xDC00 + (code & 0x3FF))


def _in_full(token: str) -> str:
    return token if token.isascii() else token.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
