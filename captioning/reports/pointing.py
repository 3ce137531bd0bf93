"""The pointing game in a result: shares with intervals, by kind of word and by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from captioning.evaluation.pointing import Pointing
from captioning.metrics import Interval
from captioning.metrics.pointing import SOURCES, shares
from captioning.reports.result import BOOTSTRAP
from captioning.reports.scores import ScoreResult

NAME = "pointing"
ALL = "all"
OF_KINDS = ("model", "grid_cells", "whole_image")
"""What the details hold of each kind of word; pointing.csv holds all of `SOURCES`."""


def with_pointing(result: ScoreResult, found: Pointing) -> ScoreResult:
    """Add the pointing game to a matcher's result.

    The score `pointing` is the model's share over all words. The details compare it with the other sources, and give
    the model's shares by kind of word. pointing.csv has all shares by kind, pointing_words.csv a row for each word.

    Args:
        result: of the same split.
        found: where the words point.
    """
    table = {kind: _shares(found, rows) for kind, rows in _kinds(found)}
    named = {
        " ".join([NAME, *([] if kind == ALL else [kind]), *([] if source == SOURCES[0] else [source])]): interval
        for kind, own in table.items()
        for source, interval in own.items()
        if kind == ALL or source in OF_KINDS
    }
    sizes = {kind: _size(found, rows) for kind, rows in _kinds(found)}
    return replace(
        result,
        scores={**result.scores, NAME: named[NAME].score},
        details={**result.details, **{name: own.score for name, own in named.items() if name != NAME}},
        intervals={**result.intervals, **named},
        signature={**result.signature, "pointing_words": len(found.words), "beta": found.beta},
        tables={
            **result.tables,
            "pointing.csv": [
                ("kind", "words", "images", "source", "share", "low", "high"),
                *(
                    (kind, *sizes[kind], source, own.score, own.low, own.high)
                    for kind, of_kind in table.items()
                    for source, own in of_kind.items()
                ),
            ],
            "pointing_words.csv": [("word", "kind", "words", "images", *SOURCES), *_by_word(found)],
        },
        notes=[*result.notes, *_notes(found)],
    )


def _kinds(found: Pointing) -> list[tuple[str, Sequence[int]]]:
    """Return the rows of all words, and if there are several kinds, those of each kind."""
    kinds = dict.fromkeys(word.kind for word in found.words)
    by_kind = [(kind, [i for i, word in enumerate(found.words) if word.kind == kind]) for kind in kinds]
    return [(ALL, range(len(found.words))), *(by_kind if len(by_kind) > 1 else [])]


def _shares(found: Pointing, rows: Sequence[int]) -> dict[str, Interval]:
    generator = np.random.default_rng(BOOTSTRAP["seed"])
    settings = {key: BOOTSTRAP[key] for key in ("num_replicates", "confidence")}
    return shares(found.hits[list(rows)], found.images[list(rows)], generator, **settings)


def _size(found: Pointing, rows: Sequence[int]) -> tuple[int, int]:
    """Count words and their images."""
    return len(rows), len(np.unique(found.images[list(rows)]))


def _by_word(found: Pointing) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each word, the most frequent first."""
    rows: dict[tuple[str, str], list[int]] = {}
    for i, word in enumerate(found.words):
        rows.setdefault((word.text, word.kind), []).append(i)
    for (text, kind), own in sorted(rows.items(), key=lambda item: (-len(item[1]), item[0])):
        yield text, kind, *_size(found, own), *found.hits[own].mean(axis=0).tolist()


def _notes(found: Pointing) -> Iterator[str]:
    num_words, num_images = _size(found, range(len(found.words)))
    kinds = " and ".join(dict.fromkeys(word.kind for word in found.words))
    yield f"pointing: {num_words} {kinds} words of {num_images} of {found.num_images} images"
    if unknown := sum(not word.known for word in found.words):
        yield f"pointing: {unknown} of these words are not in the vocabulary; the model aligns <unk>"
    for reason, count in found.left_out.items():
        yield f"pointing: {count} further words are left out: they {reason}"
