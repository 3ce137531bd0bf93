"""Searches: decoder to captions, over the Decoder protocol alone."""

from captioning.search.beam import BeamSearch
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Forbid, Processor
from captioning.search.sampling import Sampling

__all__ = ["BeamSearch", "Forbid", "GreedySearch", "Hypotheses", "Processor", "Sampling", "Search"]
