"""Searches, which find captions with any `Decoder`, through its interface alone."""

from captioning.search.beam import BeamSearch
from captioning.search.covering import CoveringSearch
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import Gnmt, LengthRule, Power, Reward
from captioning.search.processors import Forbid, Processor
from captioning.search.sampling import Sampling

__all__ = [
    "BeamSearch",
    "CoveringSearch",
    "Forbid",
    "Gnmt",
    "GreedySearch",
    "Hypotheses",
    "LengthRule",
    "Power",
    "Processor",
    "Reward",
    "Sampling",
    "Search",
]
