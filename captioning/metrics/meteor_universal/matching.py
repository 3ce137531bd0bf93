"""Find all matches between two sentences with METEOR 1.5's matchers: exact, stem, synonym and paraphrase.

Source: Denkowski and Lavie 2014, "Meteor Universal", section 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, compress
from typing import NamedTuple

from captioning.metrics.meteor_universal.lexicon import Lexicon

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

MAX_PHRASE_WORDS = 7
"""The number of words of the longest phrase in pycocoevalcap's paraphrase table."""


class Match(NamedTuple):
    """A phrase of the reference that matches a phrase of the candidate. Only paraphrases have more than one word."""

    matcher: int
    start: int  # in the reference
    length: int
    candidate_start: int
    candidate_length: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """The words of a caption and the properties that the matchers compare."""

    words: tuple[str, ...]
    stems: tuple[str, ...]
    synsets: tuple[frozenset[str], ...]
    is_function: tuple[bool, ...]
    phrases: tuple[tuple[bytes, int, int], ...]  # (text as in the table, start, length), sorted by start, then length
    starts: Mapping[bytes, tuple[int, ...]]  # the starts of each phrase


def phrase_texts(words: Sequence[str]) -> list[bytes]:
    """Return all phrases of up to MAX_PHRASE_WORDS words, sorted by start, then length."""
    text = " ".join(words).encode()
    starts = list(accumulate((len(word.encode()) + 1 for word in words), initial=0))
    return [text[starts[start] : starts[start + length] - 1] for start, length in _spans(len(words))]


@cache
def _spans(num_words: int) -> list[tuple[int, int]]:
    """Return (start, length) of the phrases that `phrase_texts` returns."""
    return [
        (start, length)
        for start in range(num_words)
        for length in range(1, min(MAX_PHRASE_WORDS, num_words - start) + 1)
    ]


def annotate(
    words: Sequence[str], texts: Sequence[bytes], lexicon: Lexicon, paraphrased: Collection[bytes]
) -> Sentence:
    """Prepare a sentence for the matchers.

    Args:
        words: the normalized words of the sentence.
        texts: its phrases, from `phrase_texts`.
        lexicon: stems, synonym sets and function words.
        paraphrased: the phrases to keep.
    """
    spans = compress(zip(texts, _spans(len(words)), strict=True), map(paraphrased.__contains__, texts))
    phrases = tuple([(text, *span) for text, span in spans])
    starts: defaultdict[bytes, tuple[int, ...]] = defaultdict(tuple)
    for text, start, _ in phrases:
        starts[text] += (start,)
    return Sentence(
        words=tuple(words),
        stems=tuple(map(lexicon.stem, words)),
        synsets=tuple(map(lexicon.synsets, words)),
        is_function=tuple(map(lexicon.is_function_word, words)),
        phrases=phrases,
        starts=dict(starts),
    )


class Paraphrases:
    """The paraphrases that occur in a set of sentences.

    Args:
        paraphrases: of each phrase, in the order of the table.
    """

    def __init__(self, paraphrases: Mapping[bytes, Sequence[bytes]]) -> None:
        self.of = paraphrases
        self.sources: dict[bytes, list[bytes]] = {}  # the phrases that have each paraphrase
        for phrase, others in paraphrases.items():
            for other in others:
                self.sources.setdefault(other, []).append(phrase)

    @property
    def phrases(self) -> Set[bytes]:
        """The phrases that have a paraphrase or are one."""
        return self.of.keys() | self.sources.keys()


class Matcher:
    """Find all matches between a candidate and references, including matches that share words.

    Their order matters: among equally good alignments, the first found wins. If the table lists each of two phrases as
    a paraphrase of the other, they match twice. Equal sentences get only exact matches.

    Differs: the jar compares 32-bit hashes, so it may match two different words with the same hash.

    Args:
        candidate: the caption to score.
        paraphrases: those of its phrases and of the references' phrases.
    """

    def __init__(self, candidate: Sentence, paraphrases: Paraphrases) -> None:
        self.candidate, self._paraphrases = candidate, paraphrases
        own = candidate.starts
        self._to_own = set(chain.from_iterable(paraphrases.sources.get(text, ()) for text in own))
        self._of_own = set(chain.from_iterable(paraphrases.of.get(text, ()) for text in own))
        self._similar: dict[str, list[tuple[int, int]]] = {}

    def matches(self, reference: Sentence) -> list[list[Match]]:
        """Return, for each word of a reference, the matches that start there."""
        if self.candidate.words == reference.words:
            return [
                [
                    _of_words(matcher, start, other)
                    for matcher, other in self._words(reference, start)
                    if matcher == EXACT
                ]
                for start in range(len(reference.words))
            ]
        found = [
            [_of_words(matcher, start, other) for matcher, other in self._words(reference, start)]
            for start in range(len(reference.words))
        ]
        if not self._to_own.isdisjoint(reference.starts):
            for text, start, length in reference.phrases:
                for paraphrase in self._paraphrases.of.get(text, ()) if text in self._to_own else ():
                    for other in self.candidate.starts.get(paraphrase, ()):
                        found[start].append(Match(PARAPHRASE, start, length, other, _num_words(paraphrase)))
        if not self._of_own.isdisjoint(reference.starts):
            for text, other, other_length in self.candidate.phrases:
                for paraphrase in self._paraphrases.of.get(text, ()):
                    for start in reference.starts.get(paraphrase, ()):
                        found[start].append(Match(PARAPHRASE, start, _num_words(paraphrase), other, other_length))
        return found

    def _words(self, reference: Sentence, start: int) -> list[tuple[int, int]]:
        """List (matcher, position) of the candidate's words that match one of a reference: exact, stem, synonym.

        The references of an image share many words, so the result is kept.
        """
        word = reference.words[start]
        if word not in self._similar:
            stem, synsets, candidate = reference.stems[start], reference.synsets[start], self.candidate
            others = [other for other, other_word in enumerate(candidate.words) if other_word != word]
            self._similar[word] = [
                *((EXACT, other) for other, other_word in enumerate(candidate.words) if other_word == word),
                *((STEM, other) for other in others if candidate.stems[other] == stem),
                *((SYNONYM, other) for other in others if not synsets.isdisjoint(candidate.synsets[other])),
            ]
        return self._similar[word]


@cache
def _of_words(matcher: int, start: int, other: int) -> Match:
    return Match(matcher, start, 1, other, 1)


def _num_words(phrase: bytes) -> int:
    return 1 + phrase.count(b" ")
