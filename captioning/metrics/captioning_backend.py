"""The backend of this package: every metric of the table, with statistics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from captioning.errors import InputError
from captioning.metrics.backend import Columns, score_by, versions
from captioning.metrics.resources import Resources
from captioning.metrics.table import METRICS, metric_class
from captioning.metrics.tokenization import PENN_TREEBANK, Tokenizer


class CaptioningBackend:
    """A `Backend` that uses the classes in `METRICS`. Scores that pycocoevalcap also has are equal to 1e-6.

    Raises:
        InputError: document frequencies are given to metrics that count other tokens than CIDEr.
    """

    known: ClassVar[tuple[str, ...]] = tuple(METRICS)

    def __init__(self, names: Sequence[str], resources: Resources) -> None:
        self._tokenizer = self.tokenizer(names)
        if resources.frequencies is not None and self._tokenizer != PENN_TREEBANK:
            raise InputError(f"{', '.join(names)}: no document frequencies are used here; leave them out")
        self._metrics = {name: metric_class(name).of(resources) for name in names}

    @staticmethod
    def tokenizer(names: Collection[str]) -> Tokenizer:
        """See `Backend.tokenizer`."""
        return next((tokenizer for name in names if (tokenizer := metric_class(name).tokenizer)), PENN_TREEBANK)

    def score(self, captions: Sequence[str]) -> Columns:
        """See `Backend.score`."""
        return score_by(self._metrics, captions)

    def signature(self) -> dict[str, Any]:
        """See `Backend.signature`."""
        return {
            "tokenizer": self._tokenizer.name,
            "metrics": [score for metric in self._metrics.values() for score in metric.names],
            **versions(self._metrics),
        }

    def close(self) -> None:
        """Do nothing: no process was started."""
