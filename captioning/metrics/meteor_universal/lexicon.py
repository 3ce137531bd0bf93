"""What METEOR 1.5 knows of an English word: its stem, its synonym sets, whether it is a function word."""

from __future__ import annotations

from collections import defaultdict

from snowballstemmer import EnglishStemmer  # type: ignore[import-untyped]

from captioning.metrics.meteor_universal import resources

# WordNet's rules of detachment: an ending and what replaces it, tried in this order. Left out are those that give
# the form of another one ("boxes" less "xes" plus "x").
_DETACHMENTS = (
    *(("s", ""), ("men", "man"), ("ies", "y"), ("es", "")),
    *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


class Lexicon:
    """Stems, synonym sets and function words; every word is worked out once.

    Sources: the stemmer is Snowball's English one (Porter 2001), of the time of the jar: snowballstemmer before 3;
    synonyms are those of WordNet 3.0 (Miller 1995), found as its Morphy finds a word's base form.

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
        """Say whether the word is one of the frequent ones that METEOR lists."""
        return word in self._function_words

    def stem(self, word: str) -> str:
        """Give the word's stem."""
        if word not in self._stems:
            self._stems[word] = self._stemmer.stemWord(word)
        return self._stems[word]

    def synsets(self, word: str) -> frozenset[str]:
        """Give the ids of the synonym sets of the word and of its base forms."""
        if word not in self._synsets:
            bases = self._bases.get(word) or [self._detach(word)]
            self._synsets[word] = frozenset(
                synset for form in (word, *bases) for synset in self._listed.get(form, "").split()
            )
        return self._synsets[word]

    def _detach(self, word: str) -> str:
        """Give the first form without an ending that WordNet lists; the word itself where there is none."""
        if len(word) > 2 and not word.endswith("ss"):
            for ending, replacement in _DETACHMENTS:
                form = word.removesuffix(ending) + replacement
                if word.endswith(ending) and form in self._listed:
                    return form
        return word
