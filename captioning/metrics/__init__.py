"""Evaluate captions against references: scores, confidence intervals and significance tests, without torch.

Each exported name is imported when it is first used, so that reading the table of metrics imports nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from captioning.metrics.table import BACKENDS, COCO_METRICS, METRICS

if TYPE_CHECKING:
    from captioning.metrics.coco import CocoScorer, Scores, compare, intervals
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

_MODULES = {
    "CocoScorer": "coco",
    "Comparison": "uncertainty",
    "Interval": "uncertainty",
    "Metric": "metric",
    "Scores": "coco",
    "compare": "coco",
    "intervals": "coco",
    "signature_line": "signature",
    "tokenize": "penn_treebank.tokenizer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
