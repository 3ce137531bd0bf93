"""Score tokenized captions by METEOR 1.5, without Java."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.meteor_universal import resources
from captioning.metrics.meteor_universal.alignment import align
from captioning.metrics.meteor_universal.lexicon import Lexicon
from captioning.metrics.meteor_universal.matching import Matcher, Paraphrases, Sentence, annotate, phrase_texts
from captioning.metrics.meteor_universal.normalization import Normalizer
from captioning.metrics.meteor_universal.score import MATCHER_WEIGHTS, additive, score
from captioning.metrics.originals import java


class MeteorUniversal:
    """METEOR with the settings of pycocoevalcap's jar for captions (-l en -norm).

    Source: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any Target
    Language", WMT; and the jar of version 1.5. Word lists and paraphrases are read from pycocoevalcap.

    The constructor reads five million paraphrases, which takes some seconds and 0.2 GB of memory. The object is not
    thread-safe.

    Raises:
        InputError: pycocoevalcap's jar or paraphrases are missing or damaged.
    """

    def __init__(self) -> None:
        self._normalize = Normalizer()
        self._lexicon = Lexicon()
        self._paraphrases = resources.paraphrase_table()

    def statistics(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Count the matches of each candidate with its best reference.

        Args:
            candidates: one tokenized caption per image; it may be empty.
            references: the tokenized references of each image, at least one.

        Returns:
            statistics (I, S), float64. `score` gives the METEOR of one row, or of a sum of rows.

        Raises:
            InputError: there are no candidates, the two lengths differ, or an image has no reference.
        """
        if not candidates or len(candidates) != len(references):
            raise InputError(
                f"expected as many candidates as lists of references, at least one; "
                f"found {len(candidates)} and {len(references)}"
            )
        if without := sum(not group for group in references):
            raise InputError(f"expected at least one reference for each candidate; {without} have none")
        # pycocoevalcap makes these replacements in candidates only. They can change the words: with one space less, the
        # second of two commas may not be split off.
        candidates = [candidate.replace("|||", "").replace("  ", " ") for candidate in candidates]
        sentences, paraphrases = self._annotate({*candidates, *chain.from_iterable(references)})
        counts = []
        for candidate, group in zip(candidates, references, strict=True):
            matcher = Matcher(sentences[candidate], paraphrases)
            counts += [_count(matcher, sentences[reference]) for reference in group]
        return _best(additive(np.array(counts, dtype=np.float64)), list(map(len, references)))

    def _annotate(self, texts: Iterable[str]) -> tuple[dict[str, Sentence], Paraphrases]:
        """Prepare all sentences, and select the paraphrases that occur in them together with their phrase.

        The separator of the jar's protocol is removed from texts, as in pycocoevalcap.
        """
        words = {text: self._normalize(java.one_line(text.replace("|||", ""))) for text in texts}
        texts_of = {text: phrase_texts(sentence) for text, sentence in words.items()}
        phrases = set(chain.from_iterable(texts_of.values()))
        present_of = {}
        for phrase in phrases & self._paraphrases.keys():
            if present := [other for other in self._paraphrases[phrase].split(b"\n") if other in phrases]:
                present_of[phrase] = present
        paraphrases = Paraphrases(present_of)
        paraphrased = paraphrases.phrases
        sentences = {
            text: annotate(sentence, texts_of[text], self._lexicon, paraphrased) for text, sentence in words.items()
        }
        return sentences, paraphrases


def _best(statistics: NDArray[np.float64], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Choose the statistics (I, S) of each candidate with its best-scoring reference, the first of equals.

    Args:
        statistics: of every candidate with each of its references, one after the other.
        sizes: the number of references of each candidate.
    """
    scores, starts = score(statistics), np.cumsum([0, *sizes[:-1]])
    is_best = scores == np.repeat(np.maximum.reduceat(scores, starts), sizes)
    rows = np.where(is_best, np.arange(len(scores)), len(scores))
    chosen: NDArray[np.float64] = statistics[np.minimum.reduceat(rows, starts)]
    return chosen


def _count(matcher: Matcher, reference: Sentence) -> list[int]:
    """Return the statistics (S) of one pair, in the column order of score.py."""
    candidate = matcher.candidate
    chosen, num_chunks = align(matcher.matches(reference))
    matched = [0] * (4 * len(MATCHER_WEIGHTS))  # matcher x (content, function) x (candidate, reference)
    for kind, start, length, candidate_start, candidate_length in chosen:
        for is_function in candidate.is_function[candidate_start : candidate_start + candidate_length]:
            matched[4 * kind + 2 * is_function] += 1
        for is_function in reference.is_function[start : start + length]:
            matched[4 * kind + 2 * is_function + 1] += 1
    num_words = [len(candidate.words), len(reference.words)]
    num_function_words = [sum(candidate.is_function), sum(reference.is_function)]
    return [*num_words, *num_function_words, *matched, num_chunks]
