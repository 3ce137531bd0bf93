"""Convert text to lower case as Java's `String.toLowerCase(Locale.ENGLISH)` does.

Java and Python differ only in the Greek capital sigma, which becomes ς at the end of a word and σ elsewhere. Python
finds the end of a word from the surrounding letters (The Unicode Standard, section 3.13, Final_Sigma). Java uses the
words of its `java.text.BreakIterator`. "ΑΣ-ΠΣ" is two words in Python and one in Java; "α:Σ" is one word in Python and
two in Java.

Differs: Java and Python each know the case only of the letters in their own version of Unicode.
"""

from __future__ import annotations

import re
import unicodedata

# The kind of each character: w, part of a word; n, part of a number; j, joins words; k, joins numbers; b, joins both;
# m, mark; f, format control; x, anything else, including ideographs and kana.
_KINDS = {**dict.fromkeys("\u00ad\u2027", "j"), **dict.fromkeys(",\u066b", "k"), **dict.fromkeys("\"'.", "b")}
_KINDS_OF_CATEGORIES = {"L": "w", "Mc": "w", "N": "n", "Pd": "j", "Pc": "j", "Mn": "m", "Me": "m", "Cf": "f"}
_IDEOGRAPH_OR_KANA = re.compile("[\u3005\u3041-\u309e\u30a1-\u30fe\u4e00-\u9fa5\uf900-\ufa2d]")

_WORD = "(?:w[mf]*)+ (?:[jb]f* (?:w[mf]*)+)*"
_NUMBER = "(?:n[mf]*)+ (?:[kb]f* (?:n[mf]*)+)*"
_WORDS_AND_NUMBERS = re.compile(f"(?=[wn]) (?:{_WORD})? (?:{_NUMBER} {_WORD})* (?:{_NUMBER})? | .", re.VERBOSE)

# Characters that Java counts as cased although their category is not upper, lower or title case.
_CASED = re.compile("[\u02b0-\u02b8\u02c0\u02c1\u02e0-\u02e4\u0345\u037a\u1d2c-\u1d61\u2160-\u217f\u24b6-\u24e9]")


def lower(text: str) -> str:
    """Return the text in lower case."""
    if "Σ" not in text:
        return text.lower()
    words = _WORDS_AND_NUMBERS.finditer("".join(map(_kind, text)))
    return "".join(_lower_word(text[word.start() : word.end()]) for word in words)


def _kind(character: str) -> str:
    if _IDEOGRAPH_OR_KANA.match(character):
        return "x"
    category = unicodedata.category(character)
    for key, kinds in ((character, _KINDS), (category, _KINDS_OF_CATEGORIES), (category[0], _KINDS_OF_CATEGORIES)):
        if key in kinds:
            return kinds[key]
    return "x"


def _lower_word(word: str) -> str:
    cased = [index for index, character in enumerate(word) if _is_cased(character)]
    ends_in_sigma = len(cased) > 1 and word[cased[-1]] == "Σ"
    last = cased[-1] if ends_in_sigma else -1
    return "".join(
        "ς" if index == last else "σ" if character == "Σ" else character.lower() for index, character in enumerate(word)
    )


def _is_cased(character: str) -> bool:
    return unicodedata.category(character) in ("Lu", "Ll", "Lt") or _CASED.match(character) is not None
