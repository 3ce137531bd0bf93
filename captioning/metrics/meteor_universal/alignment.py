"""Find the best alignment of two sentences by beam search over their matches, as METEOR 1.5 does.

Source: Denkowski and Lavie 2014, "Meteor Universal", section 2. Each word is in at most one match. The best alignment
has the most words covered, then the fewest chunks, then the smallest sum of distances between the starts of matches.

Differs: the jar departs from the paper in two ways, which are reproduced here. An inexact match covers half its words,
rounded down on each side, so inexact matches of single words cover nothing. The distance of a match is added to the
alternatives tried after it, not to its own path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from captioning.metrics.meteor_universal.matching import EXACT, Match

BEAM_SIZE = 40

# A path through the reference. The first three numbers are its rank: minus the words covered, complete chunks,
# distance. Then come the next position in the reference; the end of the open chunk in the candidate, or -1; the
# candidate's used words as bits; and the path's matches, last first, as (match, (match before it, ...)).
_Chain = tuple[Match, "_Chain"] | None
_Path = tuple[int, int, int, int, int, int, _Chain]
_rank = itemgetter(0, 1, 2)


def align(matches: Sequence[Sequence[Match]]) -> tuple[list[Match], int]:
    """Choose the best set of matches that share no word.

    Args:
        matches: for each word of the reference, the matches that start there, in the order in which to try them.

    Returns:
        the chosen matches, last first, and the number of chunks. A chunk is a run of matches that are adjacent in both
        sentences.
    """
    certain = _certain(matches)
    paths: list[_Path] = [(0, 0, 0, 0, -1, 0, None)]
    for position, choices in enumerate(matches):
        extended: list[_Path] = []
        for path in sorted(paths, key=_rank)[:BEAM_SIZE]:  # stable: among equals, the first found stays first
            _, _, distance, following, _, used, _ = path
            if position < following:
                extended.append(path)
            elif position in certain:  # every path takes this match, so its distance does not matter
                extended.append(_take(path, certain[position], distance))
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
    """Return, by start, the matches that share no word with another match."""
    everything = [match for choices in matches for match in choices]
    uses = Counter(word for match in everything for word in _words(match))
    return {match.start: match for match in everything if all(uses[word] == 1 for word in _words(match))}


def _words(match: Match) -> list[int]:
    """Return the words of a match: candidate words counted from 0 up, reference words from -1 down."""
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
    """Leave a reference word unmatched, or end the path. Both complete an open chunk."""
    covered, chunks, _, following, open_end, used, chain = path
    return covered, chunks + (open_end != -1), distance, following + 1, -1, used, chain


def _coverage(match: Match) -> int:
    if match.matcher == EXACT:
        return match.length + match.candidate_length
    return match.length // 2 + match.candidate_length // 2


def _bits(match: Match) -> int:
    return ((1 << match.candidate_length) - 1) << match.candidate_start
