"""COCO caption evaluation: captions and references in, figures and their uncertainty out. Imports no torch."""

from captioning.metrics.coco import COCO_METRICS, METRICS, CocoScorer, Scores, compare, intervals
from captioning.metrics.metric import Metric
from captioning.metrics.penn_treebank import tokenize
from captioning.metrics.reference import PycocoevalcapScorer
from captioning.metrics.signature import signature_line
from captioning.metrics.uncertainty import Comparison, Interval

__all__ = [
    "COCO_METRICS",
    "METRICS",
    "SCORERS",
    "CocoScorer",
    "Comparison",
    "Interval",
    "Metric",
    "PycocoevalcapScorer",
    "Scores",
    "compare",
    "intervals",
    "signature_line",
    "tokenize",
]

SCORERS = {"captioning": CocoScorer, "pycocoevalcap": PycocoevalcapScorer}
"""By the name of the backend: whose code counts."""
