"""Searches, which find captions with any `Decoder`, through its interface alone."""

from captioning.search.beam import BeamSearch
from captioning.search.covering import CoveringSearch
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Forbid, MinLength, Processor
from captioning.search.sampling import Sampling

__all__ = [
    "BeamSearch",
    "CoveringSearch",
    "Forbid",
    "GreedySearch",
    "Hypotheses",
    "MinLength",
    "Processor",
    "Sampling",
    "Search",
]
