"""What explains how a captioner wrote a caption: what its search considered, its other words, and its attention.

`captioning.model.explain` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from captioning.search.beam_record import Outcome


@dataclass(frozen=True, kw_only=True)
class Edit:
    """The caption that the search finds if a word is forced.

    Attributes:
        text: the caption.
        log_prob: its log-probability, in nats.
        mean: its log-probability per token.
        finished: whether it ends.
    """

    text: str
    log_prob: float
    mean: float
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A token that the decoder could have written.

    Attributes:
        text: the token.
        probability: the decoder's, before the search's processors.
        rank: 1 for the decoder's most probable token.
        chosen: whether it is the caption's own token.
        forbidden: whether the search does not allow it there.
        edit: what the search finds if it is forced; None if this was not computed.
    """

    text: str
    probability: float
    rank: int
    chosen: bool
    forbidden: bool
    edit: Edit | None = None


@dataclass(frozen=True, kw_only=True)
class Word:
    """A token of a caption.

    Attributes:
        text: the token.
        probability: the decoder's, given the image and the earlier tokens.
        alternatives: the most probable tokens, and the token itself.
        attention: the weights, (h, w) over the image's grid or (S) over the source's tokens; None without attention.
    """

    text: str
    probability: float
    alternatives: tuple[Alternative, ...]
    attention: Tensor | None


@dataclass(frozen=True, kw_only=True)
class ExplainedCaption:
    """A caption and its tokens, `<eos>` included.

    Attributes:
        text: the caption.
        log_prob: its log-probability, in nats.
        mean: its log-probability per token.
        finished: whether it ends, or was truncated at the maximum length.
        words: the first tokens, at most 60.
    """

    text: str
    log_prob: float
    mean: float
    finished: bool
    words: tuple[Word, ...]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A prefix that the search considered.

    Attributes:
        text: its last token.
        step: its number of tokens.
        parent: the index of the prefix without the last token, in `Explanation.tree`; None for the first step.
        log_prob: of the whole prefix.
        outcome: what became of it.
        forbidden_by: the processor that forbade the last token.
        best: whether the best caption starts with it.
    """

    text: str
    step: int
    parent: int | None
    log_prob: float
    outcome: Outcome
    forbidden_by: str | None
    best: bool


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a captioner did with one image, or with one sentence.

    Attributes:
        decoder: the class of the decoder.
        search: the class of the search.
        settings: the settings of the search.
        captions: the n best, best first.
        tree: the branches of a beam search, step by step, in the order of their parents and then of their probability;
            None for other searches.
        num_left_out: branches that are not in `tree`, because there are too many.
        source: the source's tokens in the order in which the encoder reads them; None if the model reads images.
        confidence: the probability that the best caption is right; None of a model that is not calibrated.
        distance: of the image from the training images; see `captioning.model.caption.Caption`.
    """

    decoder: str
    search: str
    settings: Mapping[str, Any]
    captions: tuple[ExplainedCaption, ...]
    tree: tuple[Branch, ...] | None
    num_left_out: int
    source: tuple[str, ...] | None
    confidence: float | None = None
    distance: float | None = None
