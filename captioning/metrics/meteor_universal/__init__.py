"""METEOR 1.5 (Meteor Universal) for English, without Java: a module for each step, `universal` joins them."""

from captioning.metrics.meteor_universal.universal import MeteorUniversal

__all__ = ["MeteorUniversal"]
