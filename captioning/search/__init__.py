"""Searches, which find captions with any `Decoder`, through its interface alone."""

from captioning.search.beam import BeamSearch
from captioning.search.constrained import ConstrainedBeamSearch, required_words
from captioning.search.covering import CoveringSearch
from captioning.search.diverse import DiverseBeamSearch
from captioning.search.endings import BAD_ENDINGS, NoBadEndings, bad_endings
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import Gnmt, LengthRule, Power, Reward
from captioning.search.processors import Forbid, MinLength, NoRepeatNgrams, Processor, RepetitionPenalty
from captioning.search.sampling import Sampling

__all__ = [
    "BAD_ENDINGS",
    "BeamSearch",
    "ConstrainedBeamSearch",
    "CoveringSearch",
    "DiverseBeamSearch",
    "Forbid",
    "Gnmt",
    "GreedySearch",
    "Hypotheses",
    "LengthRule",
    "MinLength",
    "NoBadEndings",
    "NoRepeatNgrams",
    "Power",
    "Processor",
    "RepetitionPenalty",
    "Reward",
    "Sampling",
    "Search",
    "bad_endings",
    "required_words",
]
