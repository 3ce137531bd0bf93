"""The best alignment of two sentences is found as in METEOR 1.5."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from captioning.metrics.meteor_universal.alignment import BEAM_SIZE, align
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


def aligned_as_written(matches: list[list[Match]]) -> tuple[list[Match], int]:
    """The beam search of the module's docstring, one path after the other with tuples for ranks."""
    uses = Counter(word for choices in matches for match in choices for word in words_of(match))
    certain = {m.start: m for choices in matches for m in choices if all(uses[word] == 1 for word in words_of(m))}
    paths = [((0, 0, 0), 0, -1, frozenset[int](), ())]  # covered, chunks, distance; next; open end; used; matches
    for position, choices in enumerate(matches):
        extended = []
        for path in sorted(paths, key=lambda path: path[0])[:BEAM_SIZE]:
            (covered, chunks, distance), following, open_end, used, chosen = path
            if position < following:
                extended.append(path)
                continue
            for match in [certain[position]] if position in certain else choices:
                own = set(range(match.candidate_start, match.candidate_start + match.candidate_length))
                if used & own:
                    continue
                half = 1 if match.matcher == EXACT else 2
                rank = (
                    covered - match.length // half - match.candidate_length // half,
                    chunks + (open_end not in (-1, match.candidate_start)),
                    distance,
                )
                end = match.candidate_start + match.candidate_length
                extended.append((rank, match.start + match.length, end, used | own, (match, *chosen)))
                distance += abs(match.start - match.candidate_start)
            if position not in certain:
                extended.append(((covered, chunks + (open_end != -1), distance), position + 1, -1, used, chosen))
        paths = extended
    best = sorted(paths, key=lambda path: path[0])[:BEAM_SIZE]
    ended = [((covered, chunks + (end != -1), far), chosen) for (covered, chunks, far), _, end, _, chosen in best]
    (_, num_chunks, _), chosen = min(ended, key=lambda path: path[0])
    return list(chosen), num_chunks


def words_of(match: Match) -> list[tuple[str, int]]:
    reference = [("reference", word) for word in range(match.start, match.start + match.length)]
    candidate = range(match.candidate_start, match.candidate_start + match.candidate_length)
    return [*reference, *(("candidate", word) for word in candidate)]


@given(some_matches())
def test_the_alignment_is_that_of_the_beam_search_as_written(matches: list[list[Match]]):
    assert align(matches) == aligned_as_written(matches)


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_more_paths_than_the_beam_keeps_are_left_out_in_the_same_order(candidate: list[str], reference: list[str]):
    matches = exact(" ".join(candidate), " ".join(reference))
    assert align(matches) == aligned_as_written(matches)
