"""Find all matches between two sentences with METEOR 1.5's matchers: exact, stem, synonym and paraphrase.

Source: Denkowski and Lavie 2014, "Meteor Universal", section 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
    encoded = [word.encode() for word in words]
    return [b" ".join(encoded[start : start + length]) for start, length in _spans(len(words))]


@cache
def _spans(num_words: int) -> list[tuple[int, int]]:
    """Return (start, length) of the phrases that `phrase_texts` returns."""
    return [
        (start, length)
        for start in range(num_words)
        for length in range(1, min(MAX_PHRASE_WORDS, num_words - start) + 1)
    ]


def annotate(words: Sequence[str], lexicon: Lexicon, paraphrased: Collection[bytes]) -> Sentence:
    """Prepare a sentence for the matchers.

    Args:
        words: the normalized words of the sentence.
        lexicon: stems, synonym sets and function words.
        paraphrased: the phrases to keep.
    """
    spans = zip(phrase_texts(words), _spans(len(words)), strict=True)
    phrases = tuple((text, *span) for text, span in spans if text in paraphrased)
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


def find_matches(
    candidate: Sentence, reference: Sentence, paraphrases: Mapping[bytes, Sequence[bytes]]
) -> list[list[Match]]:
    """Find all matches, including matches that share words.

    Their order matters: among equally good alignments, the first found wins. If the table lists each of two phrases as
    a paraphrase of the other, they match twice. Equal sentences get only exact matches.

    Differs: the jar compares 32-bit hashes, so it may match two different words with the same hash.

    Args:
        candidate: the caption to score.
        reference: one of its references.
        paraphrases: the paraphrases of each phrase, in the order of the table.

    Returns:
        for each word of the reference, the matches that start there.
    """
    matches = [
        [Match(EXACT, start, 1, other, 1) for other, other_word in enumerate(candidate.words) if other_word == word]
        for start, word in enumerate(reference.words)
    ]
    if candidate.words == reference.words:
        return matches
    for start, word in enumerate(reference.words):
        stem, synsets = reference.stems[start], reference.synsets[start]
        others = [other for other, other_word in enumerate(candidate.words) if other_word != word]
        matches[start] += [Match(STEM, start, 1, other, 1) for other in others if candidate.stems[other] == stem]
        matches[start] += [
            Match(SYNONYM, start, 1, other, 1) for other in others if not synsets.isdisjoint(candidate.synsets[other])
        ]
    for text, start, length in reference.phrases:
        for paraphrase in paraphrases.get(text, ()):
            other_length = _num_words(paraphrase)
            for other in candidate.starts.get(paraphrase, ()):
                matches[start].append(Match(PARAPHRASE, start, length, other, other_length))
    for text, other, other_length in candidate.phrases:
        for paraphrase in paraphrases.get(text, ()):
            length = _num_words(paraphrase)
            for start in reference.starts.get(paraphrase, ()):
                matches[start].append(Match(PARAPHRASE, start, length, other, other_length))
    return matches


def _num_words(phrase: bytes) -> int:
    return 1 + phrase.count(b" ")
