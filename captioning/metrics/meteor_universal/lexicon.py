"""What METEOR 1.5 knows about an English word: its stem, its synonym sets, and whether it is a function word."""

from __future__ import annotations

from collections import defaultdict

from snowballstemmer import EnglishStemmer  # type: ignore[import-untyped]

from captioning.metrics.meteor_universal import resources

# WordNet's rules of detachment: an ending and its replacement, tried in this order. Rules that give the same form as
# another rule are left out ("xes" to "x").
_DETACHMENTS = (
    *(("s", ""), ("men", "man"), ("ies", "y"), ("es", "")),
    *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


class Lexicon:
    """Look up stems, synonym sets and function words; each word is computed once.

    Sources: the stemmer is Snowball's English stemmer (Porter 2001). Use a snowballstemmer below 3, which stems as the
    jar does. Synonyms are those of WordNet 3.0 (Miller 1995); base forms are found as WordNet's Morphy does.

    Raises:
        InputError: pycocoevalcap's jar is missing or damaged.
    """

    def __init__(self) -> None:
        self._function_words = frozenset(resources.word_list("function/english.words"))
        synsets = resources.word_list("synonym/english.synsets")
        self._listed = dict(zip(synsets[::2], synsets[1::2], strict=True))
        self._bases: defaultdict[str, list[str]] = defaultdict(list)
        exceptions = resources.word_list("synonym/english.exceptions")
        for base, inflected in zip(exceptions[::2], exceptions[1::2], strict=True):
            for word in inflected.split():
                self._bases[word].append(base)
        self._stemmer = EnglishStemmer()
        self._stems: dict[str, str] = {}
        self._synsets: dict[str, frozenset[str]] = {}

    def is_function_word(self, word: str) -> bool:
        """Say whether the word is in METEOR's list of function words."""
        return word in self._function_words

    def stem(self, word: str) -> str:
        """Return the stem of the word."""
        if word not in self._stems:
            self._stems[word] = self._stemmer.stemWord(word)
        return self._stems[word]

    def synsets(self, word: str) -> frozenset[str]:
        """Return the ids of the synonym sets of the word and its base forms."""
        if word not in self._synsets:
            bases = self._bases.get(word) or [self._detach(word)]
            self._synsets[word] = frozenset(
                synset for form in (word, *bases) for synset in self._listed.get(form, "").split()
            )
        return self._synsets[word]

    def _detach(self, word: str) -> str:
        """Return the first form without an ending that WordNet lists, or the word itself."""
        if len(word) > 2 and not word.endswith("ss"):
            for ending, replacement in _DETACHMENTS:
                form = word.removesuffix(ending) + replacement
                if word.endswith(ending) and form in self._listed:
                    return form
        return word
