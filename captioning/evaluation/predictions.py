"""Predictions of batches, and their evaluation: each image is scored once, on any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.evaluation.alternatives import MOST, describe_alternatives
from captioning.metrics import CocoScorer, Scores
from captioning.model.confidences import Confidences, find
from captioning.objectives import token_losses
from captioning.search.hypotheses import Hypotheses, Search
from captioning.text.tokenizer import Tokenizer

ImageId = int | str
T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What one image contributes to an evaluation.

    Attributes:
        image_id: the image.
        caption: the search's best hypothesis.
        score: its log-probability.
        finished: whether it ended with `<eos>` before the maximum length.
        loss: the sum over its references' tokens of -log p, in nats, by teacher forcing.
        num_tokens: how many tokens are in that sum, end words included.
        num_unknown: how many of them are `<unk>`.
        captions: the captions that the search found, its best first; at most 20.
        seconds: the image's share of the time of its batch's search.
        confidence: the probability that the caption is right; None of a model that is not calibrated.
        distance: of the image from the training images; see `captioning.model.caption.Caption`.
    """

    image_id: ImageId
    caption: str
    score: float
    finished: bool
    loss: float
    num_tokens: int
    num_unknown: int
    captions: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    confidence: float | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result of a split.

    Attributes:
        predictions: one for each image, in the split's order.
        scores: the metrics, as fractions.
        loss: mean -log p of a reference's token, in nats.
        bits_per_character: -log2 p of all references, divided by their number of characters. Characters are those of
            the published text, and one more for the end of each reference. The value makes models of words,
            subwords and characters comparable. Word models look better than they are: they pay nothing for case and
            punctuation, and nothing for the spelling of `<unk>`. See `unknown_share`.
        tokens_per_caption: mean number of tokens of a reference, the end word counted.
        signature: what the scores depend on, from `CocoScorer.signature`.
        alternatives: from `describe_alternatives`; empty if the search finds one caption of each image.
    """

    predictions: tuple[Prediction, ...]
    scores: Scores
    loss: float
    bits_per_character: float
    tokens_per_caption: float
    signature: dict[str, Any]
    alternatives: Mapping[str, float] = field(default_factory=dict)

    @property
    def perplexity(self) -> float:
        """Perplexity per token, exp(loss), end words included; inf if it overflows."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    @property
    def seconds(self) -> float:
        """The time of the search for all captions, without encoder and scoring."""
        return sum(p.seconds for p in self.predictions)

    @property
    def num_unfinished(self) -> int:
        """Captions that were truncated at the maximum length."""
        return sum(not p.finished for p in self.predictions)

    @property
    def unknown_share(self) -> float:
        """Share of `<unk>` among the references' tokens."""
        return sum(p.num_unknown for p in self.predictions) / max(1, sum(p.num_tokens for p in self.predictions))


def predict(
    decoder: Decoder[Any],
    search: Search,
    tokenizer: Tokenizer,
    features: ImageFeatures,
    batch: CaptionBatch,
    confidences: Confidences | None = None,
) -> list[Prediction]:
    """Decode captions of the batch's images, and compute the loss of their references by teacher forcing.

    With `confidences`, the captions are also judged.
    """
    start = time.perf_counter()
    hypotheses, judged = find(decoder, search, features, tokenizer.special, confidences)
    captions = texts_of(hypotheses, tokenizer)
    seconds = (time.perf_counter() - start) / max(1, len(captions))
    scores, finished = hypotheses.scores[:, 0].tolist(), hypotheses.finished[:, 0].tolist()
    loss, num_tokens, num_unknown = reference_losses(decoder, features, batch, tokenizer.special.unk)
    predictions = [
        Prediction(image_id, next(iter(own), ""), score, ended, nll, int(count), int(unk), own, seconds)
        for image_id, own, score, ended, nll, count, unk in zip(
            batch.image_ids,
            captions,
            scores,
            finished,
            loss.tolist(),
            num_tokens.tolist(),
            num_unknown.tolist(),
            strict=True,
        )
    ]
    if judged is None:
        return predictions
    columns = zip(predictions, judged.confidences.tolist(), judged.distances.tolist(), strict=True)
    return [replace(own, confidence=confidence, distance=distance) for own, confidence, distance in columns]


def texts_of(hypotheses: Hypotheses, tokenizer: Tokenizer) -> list[tuple[str, ...]]:
    """Decode the captions of each image, best first; at most 20."""
    tokens, lengths = (x[:, :MOST].tolist() for x in (hypotheses.tokens, hypotheses.lengths))
    return [
        tuple(tokenizer.decode(ids) for ids, length in zip(own, own_lengths, strict=True) if length)
        for own, own_lengths in zip(tokens, lengths, strict=True)
    ]


def reference_losses(
    decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch, unk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the loss of each image's references by teacher forcing.

    Args:
        decoder: in evaluation mode.
        features: of the batch's I images.
        batch: holds the references.
        unk: the id of `<unk>`.

    Returns:
        For each image the sum over its references' tokens of -log p in nats, the number of these tokens, and how many
        of them are `<unk>`; (I) float64 each, on the CPU.
    """
    loss = torch.zeros(len(batch.image_ids), dtype=torch.float64)
    num_tokens, num_unknown = torch.zeros_like(loss), torch.zeros_like(loss)
    if len(batch.lengths):
        image = batch.image_index.cpu()[packed_rows(batch.inputs()).cpu()]
        loss.index_add_(0, image, token_losses(decoder, features, batch).double().cpu())
        num_tokens.index_add_(0, image, torch.ones(len(image), dtype=torch.float64))
        num_unknown.index_add_(0, image, (batch.targets().data == unk).double().cpu())
    return loss, num_tokens, num_unknown


def gather(own: Sequence[T]) -> list[T]:
    """Collect what each process has found of its images."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(own)
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, list(own))
    return [found for part in parts for found in part]


def evaluate(
    predictions: Iterable[Prediction], references: Mapping[ImageId, Sequence[str]], scorer: CocoScorer
) -> Evaluation:
    """Score each image of `references` exactly once, in their order.

    Args:
        predictions: of every image. If several processes evaluated the same image, its first prediction counts.
        references: of the split, by image id.
        scorer: built from the same references.

    Raises:
        InputError: an image has no prediction, or a prediction belongs to no image.
    """
    by_id: dict[ImageId, Prediction] = {}
    for prediction in predictions:
        by_id.setdefault(prediction.image_id, prediction)
    if by_id.keys() != references.keys():
        missing, extra = references.keys() - by_id.keys(), by_id.keys() - references.keys()
        raise InputError(
            f"{len(missing)} images of the split have no caption and {len(extra)} captions belong to no image: "
            f"{sorted(map(str, missing | extra))[:10]}"
        )
    ordered = tuple(by_id[image_id] for image_id in references)
    nats, num_tokens = sum(p.loss for p in ordered), sum(p.num_tokens for p in ordered)
    texts = [caption for captions in references.values() for caption in captions]
    num_characters = sum(len(text) + 1 for text in texts)
    return Evaluation(
        predictions=ordered,
        scores=scorer.score({p.image_id: p.caption for p in ordered}),
        loss=nats / num_tokens if num_tokens else math.nan,
        bits_per_character=nats / math.log(2) / num_characters if num_characters else math.nan,
        tokens_per_caption=num_tokens / len(texts) if texts else math.nan,
        signature=scorer.signature(),
        alternatives=describe_alternatives([p.captions for p in ordered], list(references.values())),
    )
