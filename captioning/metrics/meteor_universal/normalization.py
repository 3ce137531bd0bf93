"""Tokenize English as METEOR's option -norm does: separate punctuation, split contractions, lower-case.

Source: the jar's normalizer, which extends the tokenizer of Moses (Koehn et al. 2007). It also unifies quotes and
dashes, splits words at hyphens and drops the periods of "U.S.".
"""

from __future__ import annotations

import re

from captioning.metrics.meteor_universal import resources

_LETTER = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ"  # Latin and Cyrillic
_SPACES = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\u00a0]+")
_WORD = re.compile("[^ \t\n\r\f]+")
_CONTROLS = "".join(map(chr, range(33)))  # the characters that Java's trim() removes

# Applied in this order. A match consumes its neighbours, so the second of two marks ("a,,b") may stay unsplit.
_REWRITES = [
    (re.compile(pattern, re.ASCII), replacement)
    for pattern, replacement in (
        (rf"([^0-9{_LETTER}\s.'`,\-‘’])", r" \1 "),
        (r"(\.{2,})", r" \1 "),
        (r"([^0-9]),([^0-9])", r"\1 , \2"),  # 1,000 is one word
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        (r"[`‘’]", "'"),
        (r"[“”]|''", ' " '),
        (r"–", "-"),
        (r"--", "-"),
        (rf"([0-9{_LETTER}.])-([0-9{_LETTER}])", r"\1 \2"),
        (rf"([^{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([^0-9{_LETTER}])'([{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([{_LETTER}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),  # 1990's
    )
]


class Normalizer:
    """Split text into METEOR's words.

    Differs: the jar marks consecutive periods by the letters DOTMULTI. If a caption itself contains these letters in
    upper case, the jar converts them to periods; here they stay.

    Raises:
        InputError: pycocoevalcap's jar is missing or damaged.
    """

    def __init__(self) -> None:
        entries = [line.split() for line in resources.word_list("nonbreaking/english.prefixes")]
        entries = [entry for entry in entries if entry and not entry[0].startswith("#")]
        self._before_number = {prefix for prefix, *rest in entries if rest == ["#NUMERIC_ONLY#"]}
        self._before_any = {prefix for prefix, *_ in entries} - self._before_number

    def __call__(self, text: str) -> list[str]:
        """Return the words of one line of text."""
        text = f" {text.strip(_CONTROLS)} "
        if text.isascii() and text.replace(" ", "").isalnum():  # no rule looks at letters, digits and spaces alone
            return text.lower().split()
        for pattern, replacement in _REWRITES:
            text = pattern.sub(replacement, text)
        words = _WORD.findall(text)
        text = " ".join(map(self._split_dot, words, [*words[1:], ""]))
        return _WORD.findall(_SPACES.sub(" ", text).strip(_CONTROLS).lower())

    def _split_dot(self, word: str, following: str) -> str:
        """Separate the period that ends a sentence, but not the period of an abbreviation."""
        stem = word[:-1]
        if not word.endswith(".") or not stem.strip("."):
            return word
        if "." in stem and re.search(f"[{_LETTER}]", stem):
            return word.replace(".", "")
        if stem in self._before_any or re.match("[a-z]", following):
            return word
        if stem in self._before_number and re.match("[0-9]", following):
            return word
        return f"{stem} ."
