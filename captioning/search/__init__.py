"""Searches, which find captions with any `Decoder`, through its interface alone."""

from captioning.search.beam import BeamSearch
from captioning.search.constrained import ConstrainedBeamSearch, required_words
from captioning.search.covering import CoveringSearch
from captioning.search.diverse import DiverseBeamSearch
from captioning.search.endings import BAD_ENDINGS, NoBadEndings, bad_endings
from captioning.search.gnmt import GnmtSearch
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import Gnmt, LengthRule, Power, Reward
from captioning.search.minimum_bayes_risk import MinimumBayesRisk
from captioning.search.processors import Forbid, MinLength, NoRepeatNgrams, Processor, RepetitionPenalty
from captioning.search.sampling import Sampling
from captioning.search.stochastic import StochasticBeamSearch

__all__ = [
    "BAD_ENDINGS",
    "BeamSearch",
    "ConstrainedBeamSearch",
    "CoveringSearch",
    "DiverseBeamSearch",
    "Forbid",
    "Gnmt",
    "GnmtSearch",
    "GreedySearch",
    "Hypotheses",
    "LengthRule",
    "MinLength",
    "MinimumBayesRisk",
    "NoBadEndings",
    "NoRepeatNgrams",
    "Power",
    "Processor",
    "RepetitionPenalty",
    "Reward",
    "Sampling",
    "Search",
    "StochasticBeamSearch",
    "bad_endings",
    "required_words",
]
