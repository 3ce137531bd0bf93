"""The tokenizer of COCO caption evaluation: Stanford's Penn Treebank tokenizer, as pycocoevalcap runs it."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from pycocoevalcap.tokenizer import ptbtokenizer

from captioning.errors import InputError
from captioning.metrics.originals import java

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

NAME = "PTBTokenizer of Stanford CoreNLP 3.4.1, lower case, punctuation removed"
_PUNCTUATION = frozenset(ptbtokenizer.PUNCTUATIONS)


def tokenize(captions: Mapping[K, Sequence[str]]) -> dict[K, list[str]]:
    """Tokenize captions as pycocoevalcap's PTBTokenizer does: lower case, no punctuation, split at spaces.

    One Java process tokenizes all captions. As in pycocoevalcap, the last token of a caption can depend on the caption
    that follows ("plan a." is two tokens before some), so results can be compared in one order of the captions only.

    Differs: every line end that the lexer knows becomes a space. pycocoevalcap replaces the line feed alone; another
    line end shifts all captions after it. Every key and caption is kept, and no file is written.

    Args:
        captions: the captions of each key, such as the references of an image.

    Returns:
        For each key the tokens of its captions, joined by spaces; "" if no token is left. Brackets are kept as
        "-lrb-" and so on, because pycocoevalcap's list of punctuation has them in upper case.

    Raises:
        InputError: Java or the tokenizer's jar is missing or fails, or a caption is not valid Unicode.
    """
    lines = [java.one_line(caption) for group in captions.values() for caption in group]
    tokenized = iter(_tokenize_lines(lines) if lines else [])
    return {key: list(islice(tokenized, len(group))) for key, group in captions.items()}


def _tokenize_lines(lines: list[str]) -> list[str]:
    jar = java.file_beside(ptbtokenizer, ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    text = _encode(lines)
    with java.start("-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase") as process:
        try:
            output, errors = process.communicate(text)
        except BaseException:
            process.kill()
            raise
    messages = errors.decode(errors="replace")
    found = output.decode().split("\n")
    if process.returncode != 0 or len(found) != len(lines):
        raise InputError(
            f"expected {len(lines)} lines from the PTB tokenizer, found {len(found)} and exit code "
            f"{process.returncode}; if {jar} is damaged, install pycocoevalcap again. "
            f"Java said: {messages[:1000]}"
        )
    if deleted := re.search(r"Untokenizable: (.*)", messages):  # Java reports the first alone
        logger.warning("the PTB tokenizer deleted unknown characters, the first: %s", deleted[1].strip())
    return [_without_punctuation(line) for line in found]


def _encode(lines: list[str]) -> bytes:
    try:
        return "\n".join(lines).encode()
    except UnicodeEncodeError as error:
        wrong = next(line for line in lines if error.object[error.start] in line)
        raise InputError(
            f"expected captions of valid Unicode, found half of a surrogate pair "
            f"({error.object[error.start]!r}) in the caption {wrong!r}; remove or repair it"
        ) from error


def _without_punctuation(line: str) -> str:
    return " ".join(token for token in line.rstrip().split(" ") if token not in _PUNCTUATION)
