"""COCO caption evaluation: captions and references in, figures and their uncertainty out. Imports no torch."""

from captioning.metrics.coco import BACKENDS, COCO_METRICS, METRICS, CocoScorer, Scores, compare, intervals
from captioning.metrics.metric import Metric
from captioning.metrics.penn_treebank.tokenizer import tokenize
from captioning.metrics.signature import signature_line
from captioning.metrics.uncertainty import Comparison, Interval

__all__ = [
    "BACKENDS",
    "COCO_METRICS",
    "METRICS",
    "CocoScorer",
    "Comparison",
    "Interval",
    "Metric",
    "Scores",
    "compare",
    "intervals",
    "signature_line",
    "tokenize",
]
