"""Find the best alignment of two sentences by beam search over their matches, as METEOR 1.5 does.

Source: Denkowski and Lavie 2014, "Meteor Universal", section 2. Each word is in at most one match. The best alignment
has the most words covered, then the fewest chunks, then the smallest sum of distances between the starts of matches.

Differs: the jar departs from the paper in two ways, which are reproduced here. An inexact match covers half its words,
rounded down on each side, so inexact matches of single words cover nothing. The distance of a match is added to the
alternatives tried after it, not to its own path.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from captioning.metrics.meteor_universal.matching import EXACT, Match

BEAM_SIZE = 40

# A path through the reference: its rank, the smallest of which is the best; the reference word after its last match;
# the end of the open chunk in the candidate, or -1; the candidate's used words as bits; and the path's matches, last
# first, as (match, (match before it, ...)). The rank orders by covered words, then by complete chunks, then by
# distance: it is -covered * _WORD + chunks * _CHUNK + distance.
_Chain = tuple[Match, "_Chain"] | None
_Path = tuple[int, int, int, int, _Chain]
_CHUNK, _WORD = 1 << 40, 1 << 60  # more than any distance, and than any number of chunks
_rank = itemgetter(0)

# A match as paths take it: the candidate's words as bits, its first word there and the word after its last, the
# reference word after its last, minus the words that it covers times _WORD, its distance, and the match.
_Move = tuple[int, int, int, int, int, int, Match]


def align(matches: Sequence[Sequence[Match]]) -> tuple[list[Match], int]:
    """Choose the best set of matches that share no word.

    Args:
        matches: for each word of the reference, the matches that start there, in the order in which to try them.

    Returns:
        the chosen matches, last first, and the number of chunks. A chunk is a run of matches that are adjacent in both
        sentences.
    """
    certain = _certain(matches)
    paths: list[_Path] = [(0, 0, -1, 0, None)]
    for position, choices in enumerate(matches):
        if len(paths) > 1:
            paths = sorted(paths, key=_rank)[:BEAM_SIZE]  # stable: among equals, the first found stays first
        moves = [_move(match) for match in choices]
        paths = _take_all(paths, moves[0]) if certain[position] else _extended(paths, position, moves)
    paths = sorted(paths, key=_rank)[:BEAM_SIZE]
    rank, *_, chain = min(((rank + (end != -1) * _CHUNK, chain) for rank, _, end, _, chain in paths), key=_rank)
    chosen = []
    while chain is not None:
        match, chain = chain
        chosen.append(match)
    return chosen, rank % _WORD // _CHUNK


def _take_all(paths: list[_Path], move: _Move) -> list[_Path]:
    """Let every path take a match that shares no word with another, so that its distance does not matter."""
    bits, begin, end, following, words, _, match = move
    return [
        (
            rank + words if open_end in (-1, begin) else rank + words + _CHUNK,
            following,
            end,
            used | bits,
            (match, chain),
        )
        for rank, _, open_end, used, chain in paths
    ]


def _extended(paths: list[_Path], position: int, moves: list[_Move]) -> list[_Path]:
    """Let every path take each match that starts here and uses other words, or leave the word unmatched."""
    extended: list[_Path] = []
    for path in paths:
        rank, following, open_end, used, chain = path
        if position < following:  # within a phrase
            extended.append(path)
            continue
        for bits, begin, end, after, words, distance, match in moves:
            if not used & bits:
                ends_chunk = open_end not in (-1, begin)
                extended.append(
                    (rank + words + _CHUNK if ends_chunk else rank + words, after, end, used | bits, (match, chain))
                )
                rank += distance
        if open_end != -1:  # an unmatched word completes the open chunk
            rank += _CHUNK
        extended.append((rank, following, -1, used, chain))
    return extended


def _certain(matches: Sequence[Sequence[Match]]) -> list[bool]:
    """Say for each word of the reference whether it starts one match, which shares no word with another match."""
    references, candidates = [0] * len(matches), dict[int, int]()
    for choices in matches:
        for _, start, length, candidate_start, candidate_length in choices:
            for word in _span(start, length):
                references[word] += 1
            for word in _span(candidate_start, candidate_length):
                candidates[word] = candidates.get(word, 0) + 1
    return [
        len(choices) == 1
        and all(references[word] == 1 for word in _span(choices[0].start, choices[0].length))
        and all(candidates[word] == 1 for word in _span(choices[0].candidate_start, choices[0].candidate_length))
        for choices in matches
    ]


def _span(start: int, length: int) -> range:
    return range(start, start + length)


def _move(match: Match) -> _Move:
    matcher, start, length, candidate_start, candidate_length = match
    covered = length + candidate_length if matcher == EXACT else length // 2 + candidate_length // 2
    bits = ((1 << candidate_length) - 1) << candidate_start
    end, distance = candidate_start + candidate_length, abs(start - candidate_start)
    return bits, candidate_start, end, start + length, -covered * _WORD, distance, match
