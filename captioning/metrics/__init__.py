"""COCO caption evaluation: captions and references in, figures out."""

from captioning.metrics.coco import METRICS, CocoScorer, Scores
from captioning.metrics.meteor import Meteor
from captioning.metrics.ptb import tokenize

__all__ = ["METRICS", "CocoScorer", "Meteor", "Scores", "tokenize"]
