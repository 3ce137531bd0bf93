"""The best alignment of two sentences is found as in METEOR 1.5."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captioning.metrics.meteor_universal.alignment import align
from captioning.metrics.meteor_universal.matching import EXACT, PARAPHRASE, STEM, Match


def exact(candidate: str, reference: str) -> list[list[Match]]:
    return [
        [Match(EXACT, start, 1, other, 1) for other, its in enumerate(candidate.split()) if its == word]
        for start, word in enumerate(reference.split())
    ]


def positions(candidate: str, reference: str) -> tuple[list[tuple[int, int]], int]:
    """Return the positions of the chosen matches in the reference and candidate, and the number of chunks."""
    chosen, num_chunks = align(exact(candidate, reference))
    return sorted((match.start, match.candidate_start) for match in chosen), num_chunks


def test_words_that_occur_once_are_matched():
    assert positions("a b c", "c x a b") == ([(0, 2), (2, 0), (3, 1)], 2)


def test_nothing_to_match():
    assert align([]) == ([], 0)
    assert positions("a b", "c d") == ([], 0)


def test_fewest_chunks_win():
    assert positions("the dog the cat", "the cat") == ([(0, 2), (1, 3)], 1)
    assert positions("the cat", "the dog the cat") == ([(2, 0), (3, 1)], 1)


def test_most_words_win_before_fewest_chunks():
    assert positions("a x a", "a y a") == ([(0, 0), (2, 2)], 2)


def test_gap_in_either_sentence_ends_a_chunk():
    assert positions("a x b", "a b")[1] == 2
    assert positions("a b", "a x b")[1] == 2


def test_distance_counts_for_the_alternatives_after_a_match():
    assert positions("b b", "x b") == ([(1, 0)], 1)  # if its own distance counted, it would be (1, 1)


def test_single_inexact_words_cover_nothing():
    # A stem match and an exact match compete for one word of the candidate.
    choices = [[Match(STEM, 0, 1, 0, 1)], [Match(EXACT, 1, 1, 0, 1)]]
    chosen, num_chunks = align(choices)
    assert (chosen, num_chunks) == ([choices[1][0]], 1)
    # Two competing stem matches: leaving both out covers as much with fewer chunks.
    assert align([[Match(STEM, 0, 1, 0, 1)], [Match(STEM, 1, 1, 0, 1)]]) == ([], 0)


def test_phrases_cover_half_their_words():
    phrase, word = Match(PARAPHRASE, 0, 2, 0, 2), Match(STEM, 0, 1, 0, 1)
    assert align([[word, phrase], []]) == ([phrase], 1)
    assert align([[word, Match(EXACT, 0, 1, 1, 1), phrase], []])[0] == [Match(EXACT, 0, 1, 1, 1)]


@st.composite
def some_matches(draw: st.DrawFn) -> list[list[Match]]:
    num_reference, num_candidate = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    found: list[list[Match]] = [[] for _ in range(num_reference)]
    for _ in range(draw(st.integers(0, 20))):
        start, other = draw(st.integers(0, num_reference - 1)), draw(st.integers(0, num_candidate - 1))
        length = draw(st.integers(1, min(3, num_reference - start)))
        other_length = draw(st.integers(1, min(3, num_candidate - other)))
        matcher = EXACT if length == other_length == 1 else PARAPHRASE
        found[start].append(Match(matcher, start, length, other, other_length))
    return found


@given(some_matches())
def test_no_word_is_matched_twice(matches: list[list[Match]]):
    chosen, num_chunks = align(matches)
    reference = [position for match in chosen for position in range(match.start, match.start + match.length)]
    candidate = [
        position
        for match in chosen
        for position in range(match.candidate_start, match.candidate_start + match.candidate_length)
    ]
    assert len(set(reference)) == len(reference)
    assert len(set(candidate)) == len(candidate)
    assert all(match in matches[match.start] for match in chosen)
    ends = {(match.start + match.length, match.candidate_start + match.candidate_length) for match in chosen}
    assert num_chunks == sum((match.start, match.candidate_start) not in ends for match in chosen)
