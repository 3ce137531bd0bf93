"""Alternative text for web pages, made of a caption."""

from __future__ import annotations

import re
from dataclasses import dataclass

from captioning.errors import InputError
from captioning.search.endings import BAD_ENDINGS

LONGEST = 125
"""Characters of an alternative text, the notice included. Some screen readers stop there, or divide a longer one."""
NOTICE = "Machine-written caption:"
"""The notice that a machine wrote the text, if no other is given."""

# A screen reader says itself that there is an image.
_BEGINNING = re.compile(r"(?:(?:an?|the)\s+)?(?:image|photo|photograph|picture)\s+of\s+(?=\S)", re.IGNORECASE)
_CLITIC = re.compile(r"\s+(?='(?:s|re|ve|ll|d|m)\b|n't\b)", re.IGNORECASE)  # the tokenizer has parted them


@dataclass(frozen=True)
class AltText:
    """An alternative text.

    Attributes:
        text: at most 125 characters; "" if no word of the caption is left.
        shortened: whether words of the caption are missing.
    """

    text: str
    shortened: bool

    def __str__(self) -> str:
        return self.text


def alt_text(caption: str, *, notice: str | None = None, longest: int = LONGEST) -> AltText:
    """Make an alternative text of a caption.

    It does not begin with "an image of" or the like, starts with a capital letter and ends with a full stop. If it is
    too long, words are left out at its end, and then also words such as "a" that cannot end a sentence.

    Args:
        caption: the text of a caption.
        notice: is placed first, such as `NOTICE`; None for none.
        longest: the most characters, the notice included.

    Raises:
        InputError: the notice takes more than half of `longest`.
    """
    before = f"{' '.join(notice.split())} " if notice and notice.strip() else ""
    if len(before) > longest / 2:
        raise InputError(f"the notice has {len(before) - 1} characters, expected at most {longest // 2 - 1}")
    text = " ".join(_CLITIC.sub("", caption).split()).rstrip(" .,;:")
    while begins := _BEGINNING.match(text):
        text = text[begins.end() :]
    kept = _fitting(text.split(), longest - len(before) - 1)
    shortened = len(kept) < len(text.split())
    if not kept:
        return AltText("", shortened)
    sentence = " ".join(kept).rstrip(" .,;:")
    end = "" if sentence[-1:] in ("!", "?") else "."
    return AltText(f"{before}{sentence[:1].upper()}{sentence[1:]}{end}", shortened)


def _fitting(words: list[str], longest: int) -> list[str]:
    """Return the first words that take at most `longest` characters, and end no sentence in its middle."""
    kept = list(words)
    while kept and len(" ".join(kept)) > longest:
        kept.pop()
    if len(kept) < len(words):
        while kept and kept[-1].lower() in BAD_ENDINGS:
            kept.pop()
    return kept
