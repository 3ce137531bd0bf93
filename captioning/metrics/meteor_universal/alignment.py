"""The best alignment of two sentences: a beam search over their matches, as METEOR 1.5 does it.

Source: Denkowski and Lavie 2014, "Meteor Universal", section 2: each word in at most one match; then most words
covered, fewest chunks, smallest sum of distances between the starts of what is matched, in this order.

Differs from the paper, as the jar does:
- an inexact match covers half its words, rounded down on each side: single words cover nothing;
- the distance of a match is added to the alternatives after it and not to its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from captioning.metrics.meteor_universal.matching import EXACT, Match

BEAM_SIZE = 40

# A path through the reference. The first three say its rank: minus the words covered, complete chunks, distance. Then:
# where it goes on in the reference; where its open chunk ends in the candidate, -1 if none is open; the candidate's
# words in use, as bits; its matches, last first, as (match, (match before it, ...)).
_Chain = tuple[Match, "_Chain"] | None
_Path = tuple[int, int, int, int, int, int, _Chain]
_rank = itemgetter(0, 1, 2)


def align(matches: Sequence[Sequence[Match]]) -> tuple[list[Match], int]:
    """Choose matches that can stand together.

    Args:
        matches: for each word of the reference those that start there, in the order in which they are tried.

    Returns:
        the chosen ones, last first, and the number of chunks: runs of matches that follow each other in both.
    """
    certain = _certain(matches)
    paths: list[_Path] = [(0, 0, 0, 0, -1, 0, None)]
    for place, choices in enumerate(matches):
        extended: list[_Path] = []
        for path in sorted(paths, key=_rank)[:BEAM_SIZE]:  # stable: the first found of equals stays first
            _, _, distance, following, _, used, _ = path
            if place < following:
                extended.append(path)
            elif place in certain:
                extended.append(_take(path, certain[place], distance))  # its own is the same on all paths
            else:
                for match in choices:
                    if not used & _bits(match):
                        extended.append(_take(path, match, distance))
                        distance += abs(match.start - match.candidate_start)
                extended.append(_skip(path, distance))
        paths = extended
    paths = sorted(paths, key=_rank)[:BEAM_SIZE]
    _, num_chunks, *_, chain = min((_skip(path, path[2]) for path in paths), key=_rank)
    chosen = []
    while chain is not None:
        match, chain = chain
        chosen.append(match)
    return chosen, num_chunks


def _certain(matches: Sequence[Sequence[Match]]) -> dict[int, Match]:
    """Give, by their start, the matches that share no word with another."""
    everything = [match for choices in matches for match in choices]
    uses = Counter(word for match in everything for word in _words(match))
    return {match.start: match for match in everything if all(uses[word] == 1 for word in _words(match))}


def _words(match: Match) -> list[int]:
    """Give the words that a match covers: those of the candidate from 0 up, those of the reference from -1 down."""
    reference = range(match.start, match.start + match.length)
    return [
        *range(match.candidate_start, match.candidate_start + match.candidate_length),
        *(~word for word in reference),
    ]


def _take(path: _Path, match: Match, distance: int) -> _Path:
    covered, chunks, _, _, open_end, used, chain = path
    covered -= _coverage(match)
    chunks += open_end not in (-1, match.candidate_start)
    following, end = match.start + match.length, match.candidate_start + match.candidate_length
    return covered, chunks, distance, following, end, used | _bits(match), (match, chain)


def _skip(path: _Path, distance: int) -> _Path:
    """Leave a word of the reference without a match, or end: either completes a chunk."""
    covered, chunks, _, following, open_end, used, chain = path
    return covered, chunks + (open_end != -1), distance, following + 1, -1, used, chain


def _coverage(match: Match) -> int:
    if match.matcher == EXACT:
        return match.length + match.candidate_length
    return match.length // 2 + match.candidate_length // 2


def _bits(match: Match) -> int:
    return ((1 << match.candidate_length) - 1) << match.candidate_start
