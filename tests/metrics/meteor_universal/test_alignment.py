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


def places(candidate: str, reference: str) -> tuple[list[tuple[int, int]], int]:
    """Give (place in the reference, place in the candidate) of the chosen matches, and the chunks."""
    chosen, num_chunks = align(exact(candidate, reference))
    return sorted((match.start, match.candidate_start) for match in chosen), num_chunks


def test_words_that_occur_once_are_matched():
    assert places("a b c", "c x a b") == ([(0, 2), (2, 0), (3, 1)], 2)


def test_nothing_to_match():
    assert align([]) == ([], 0)
    assert places("a b", "c d") == ([], 0)


def test_fewest_chunks_win():
    assert places("the dog the cat", "the cat") == ([(0, 2), (1, 3)], 1)
    assert places("the cat", "the dog the cat") == ([(2, 0), (3, 1)], 1)


def test_most_words_win_before_fewest_chunks():
    assert places("a x a", "a y a") == ([(0, 0), (2, 2)], 2)


def test_gap_in_either_sentence_ends_a_chunk():
    assert places("a x b", "a b")[1] == 2
    assert places("a b", "a x b")[1] == 2


def test_distance_counts_for_the_alternatives_after_a_match():
    assert places("b b", "x b") == ([(1, 0)], 1)  # by its own distance it would be (1, 1)


def test_single_inexact_words_cover_nothing():
    # A stem match of the word and an exact match of another reference word compete for one candidate's word.
    choices = [[Match(STEM, 0, 1, 0, 1)], [Match(EXACT, 1, 1, 0, 1)]]
    chosen, num_chunks = align(choices)
    assert (chosen, num_chunks) == ([choices[1][0]], 1)
    # Two stem matches that compete: leaving both out covers as much in fewer chunks.
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
    reference = [place for match in chosen for place in range(match.start, match.start + match.length)]
    candidate = [
        place
        for match in chosen
        for place in range(match.candidate_start, match.candidate_start + match.candidate_length)
    ]
    assert len(set(reference)) == len(reference)
    assert len(set(candidate)) == len(candidate)
    assert all(match in matches[match.start] for match in chosen)
    ends = {(match.start + match.length, match.candidate_start + match.candidate_length) for match in chosen}
    assert num_chunks == sum((match.start, match.candidate_start) not in ends for match in chosen)
