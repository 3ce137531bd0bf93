"""What a captioner returns for one image or one sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """A caption of one image, or a translation of one sentence.

    Attributes:
        text: the caption.
        score: its log-probability in nats, end word included.
        finished: False if it was truncated at the search's maximum length.
    """

    text: str
    score: float
    finished: bool

    def __str__(self) -> str:
        return self.text
