"""Lower case as Java's `String.toLowerCase(Locale.ENGLISH)` makes it: Python's, but for one letter.

The Greek capital sigma becomes ς at the end of a word and σ elsewhere. Python tells the end by the letters around it
(The Unicode Standard, section 3.13, Final_Sigma), Java by what its `java.text.BreakIterator` takes for a word:
"ΑΣ-ΠΣ" is two words to Python and one to Java, "α:Σ" one to Python and two to Java.

Differs: letters newer than the Unicode of Java or Python, as each knows the cases of its own version only.
"""

from __future__ import annotations

import re
import unicodedata

# Each character counts as w, part of a word; n, of a number; j, k or b, a joint of words, of numbers, of both; m, a
# mark; f, a control of format; x, none of these, which ideographs and kana are too.
_KINDS = {**dict.fromkeys("\u00ad\u2027", "j"), **dict.fromkeys(",\u066b", "k"), **dict.fromkeys("\"'.", "b")}
_KINDS_OF_CATEGORIES = {"L": "w", "Mc": "w", "N": "n", "Pd": "j", "Pc": "j", "Mn": "m", "Me": "m", "Cf": "f"}
_IDEOGRAPH_OR_KANA = re.compile("[\u3005\u3041-\u309e\u30a1-\u30fe\u4e00-\u9fa5\uf900-\ufa2d]")

_WORD = "(?:w[mf]*)+ (?:[jb]f* (?:w[mf]*)+)*"
_NUMBER = "(?:n[mf]*)+ (?:[kb]f* (?:n[mf]*)+)*"
_WORDS_AND_NUMBERS = re.compile(f"(?=[wn]) (?:{_WORD})? (?:{_NUMBER} {_WORD})* (?:{_NUMBER})? | .", re.VERBOSE)

# What has a case to Java without being a letter of upper, lower or title case.
_CASED = re.compile("[\u02b0-\u02b8\u02c0\u02c1\u02e0-\u02e4\u0345\u037a\u1d2c-\u1d61\u2160-\u217f\u24b6-\u24e9]")


def lower(text: str) -> str:
    """The text in lower case."""
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
