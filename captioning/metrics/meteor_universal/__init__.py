"""METEOR 1.5 (Meteor Universal) for English, without Java. Each step has a module; `universal` combines them."""

from captioning.metrics.meteor_universal.universal import MeteorUniversal

__all__ = ["MeteorUniversal"]
