"""Matchers, which score how well sentences fit images: one file per paper, all with the `Matcher` interface."""

from captioning.matchers.dmsm import Dmsm
from captioning.matchers.matcher import Embedded, Matcher

__all__ = ["Dmsm", "Embedded", "Matcher"]
