"""Matchers, which score how well sentences fit images: one file per paper, all with the `Matcher` interface."""

from captioning.matchers.alignment import Snippet, affinities, align, snippets
from captioning.matchers.brnn import Brnn
from captioning.matchers.dmsm import Dmsm
from captioning.matchers.matcher import Embedded, Matcher
from captioning.matchers.sentence_vector import SentenceVector
from captioning.matchers.similarity import best_regions, per_word

__all__ = [
    "Brnn",
    "Dmsm",
    "Embedded",
    "Matcher",
    "SentenceVector",
    "Snippet",
    "affinities",
    "align",
    "best_regions",
    "per_word",
    "snippets",
]
