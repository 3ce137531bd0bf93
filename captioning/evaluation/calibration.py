"""Calibrate a captioner on one half of a split, and report how far its confidences can be trusted on the other half."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation
from captioning.evaluation.scorer import build_scorer
from captioning.metrics.calibration import COVERAGES, auroc, reliability, risks
from captioning.metrics.risk_control import least_confidence
from captioning.model.captioner import Captioner
from captioning.model.confidences import (
    FARTHEST_QUANTILE,
    Confidences,
    Correctness,
    Values,
    Vectors,
    best_tokens,
    described,
    vectors_of,
)
from captioning.model.domain import RANK, Domain
from captioning.model.logistic import Logistic
from captioning.model.signals import (
    caption_signals,
    searching_all,
    token_frequencies,
    with_words,
    word_signals,
)
from captioning.reranking import halves

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
ImageId = int | str

PEOPLE = 0.9
"""The share of people's captions that are right, if no threshold is given."""
FEWEST = 100
"""Images of a split that are enough to calibrate on, half of which are fitted."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of one image before anything is fitted.

    Attributes:
        image_id: the image.
        caption: the model's.
        signals: (4) of the caption, without the confidences of its words.
        distance: of the image from the training images.
        words: (T, 4) the signals of its tokens, without `<eos>`.
        in_references: (T) whether one of the image's references has the token.
    """

    image_id: ImageId
    caption: str
    signals: Floats
    distance: float
    words: Floats
    in_references: Flags


def check(captioner: Captioner, data: CaptionDataModule) -> None:
    """Check that a model can be calibrated on a data module's split.

    Raises:
        InputError: the model sees no image, or the split is the training split or has fewer than 100 images.
    """
    if captioner.encoder.reads == "nothing":
        raise InputError("this model sees no image, so its captions are right or wrong by chance; give a captioner")
    if data.split == "train":
        raise InputError("a model is more confident on its training images; choose data.split=val or test")
    if (found := len(data.splits.images(data.split))) < FEWEST:
        raise InputError(f"{data.split} has {found} images, expected at least {FEWEST} to calibrate and report on")


@dataclass(frozen=True, eq=False)
class Training:
    """What is known of the training images.

    Attributes:
        domain: where they lie.
        vectors: in which vectors of theirs.
        frequencies: (V) the share of them with each token.
    """

    domain: Domain
    vectors: Vectors
    frequencies: Floats


def training_images(captioner: Captioner, data: CaptionDataModule, *, rank: int = RANK) -> Training:
    """Find where the training images lie, and in which share of them each token occurs.

    Args:
        captioner: in evaluation mode.
        data: a data module that was built with the captioner's encoder, transform and tokenizer.
        rank: see `Domain.fit`.
    """
    parts: list[Floats] = []
    vectors: Vectors = "pooled"
    for batch in track(data.evaluation_dataloader("train"), "reading the training images"):
        with torch.inference_mode():
            features = captioner.features(batch.to(captioner.device))
        vectors = "pooled" if features.layers is None else "layers"
        parts.append(vectors_of(features, vectors))
    tokens = tokens_of(captioner, data.splits.references("train")).values()
    frequencies = token_frequencies(tokens, len(captioner.tokenizer))
    return Training(Domain.fit(np.concatenate(parts), rank), vectors, frequencies)


def tokens_of(captioner: Captioner, references: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, set[int]]:
    """Return the tokens of all references of each image."""
    return {i: {token for ids in captioner.tokenizer.encode(own) for token in ids} for i, own in references.items()}


def observe(captioner: Captioner, data: CaptionDataModule, training: Training) -> list[Observed]:
    """Caption each image of the data module's split with the model's own search.

    Args:
        captioner: in evaluation mode.
        data: a data module that was built with the captioner's encoder, transform and tokenizer.
        training: what is known of the training images.
    """
    references = tokens_of(captioner, data.splits.references(data.split))
    found: list[Observed] = []
    for batch in track(data.evaluation_dataloader(data.split), "captioning"):
        with torch.inference_mode():
            found += _observed(captioner, batch.to(captioner.device), training, references)
    return found


def _observed(
    captioner: Captioner, batch: CaptionBatch, training: Training, references: Mapping[ImageId, set[int]]
) -> list[Observed]:
    special, features = captioner.tokenizer.special, captioner.features(batch)
    hypotheses = searching_all(captioner.search)(captioner.searched, features, special)
    distances = training.domain.distances(vectors_of(features, training.vectors))
    signals = caption_signals(hypotheses, training.frequencies, distances, special.eos)
    found = []
    for image_id, (tokens, log_probs), own, distance in zip(
        batch.image_ids, best_tokens(hypotheses), signals, distances, strict=True
    ):
        if not tokens:
            raise InputError(f"the search found no caption of image {image_id}; allow more tokens, or another search")
        words = np.array([token != special.eos for token in tokens])
        said = np.array([token in references[image_id] for token in tokens])
        found.append(
            Observed(
                image_id,
                caption=captioner.tokenizer.decode(tokens),
                signals=own,
                distance=float(distance),
                words=word_signals(log_probs, tokens, training.frequencies)[words],
                in_references=said[words],
            )
        )
    return found


def scores_of(
    captions: Mapping[ImageId, str], references: Mapping[ImageId, Sequence[str]], metric: str
) -> dict[ImageId, float]:
    """Score each caption alone, as per_image.csv of `captioning evaluate` has it.

    Raises:
        InputError: the metric is unknown, has several scores, or cannot be computed.
    """
    with build_scorer(references, names=[metric]) as scorer:
        per_image = scorer.score(captions).per_image
    names = list(next(iter(per_image.values())))
    if names != [metric]:
        raise InputError(f"correct.metric={metric} has the scores {', '.join(names)}; choose one with a single score")
    return {image_id: own[metric] for image_id, own in per_image.items()}


def score_of_people(references: Mapping[ImageId, Sequence[str]], metric: str, share: float = PEOPLE) -> float:
    """Compute the score that a share of people's captions reach.

    The first reference of each image is scored against the others.

    Raises:
        InputError: an image has one reference only, or the metric cannot be computed.
    """
    if not all(len(own) > 1 for own in references.values()):
        raise InputError("an image has one reference only, so people's captions have no score; set correct.threshold")
    firsts = {image_id: own[0] for image_id, own in references.items()}
    others = {image_id: list(own[1:]) for image_id, own in references.items()}
    return float(np.quantile(list(scores_of(firsts, others, metric).values()), 1 - share))


def fit(
    observed: Sequence[Observed],
    right: Flags,
    training: Training,
    correctness: Correctness,
    fitted: Mapping[str, str | int],
) -> Confidences:
    """Fit the probabilities that captions and words are right.

    Args:
        observed: of the images to fit on.
        right: whether the caption of each is right.
        training: what is known of the training images.
        correctness: what a right caption is.
        fitted: data set, split and number of images.

    Raises:
        InputError: all captions are right, or all are wrong.
    """
    if right.all() or not right.any():
        raise InputError(
            f"{'all' if right.all() else 'none'} of the captions reach {correctness.metric} "
            f"{correctness.threshold:.4g}, so no confidence can be fitted; set another correct.threshold"
        )
    words = Logistic.fit(
        np.concatenate([own.words for own in observed]), np.concatenate([own.in_references for own in observed])
    )
    signals = signals_of(observed, words)
    captions = Logistic.fit(signals, right)
    values = Values(
        correctness=correctness,
        captions=captions,
        words=words,
        farthest=float(np.quantile([own.distance for own in observed], FARTHEST_QUANTILE)),
        quantiles=tuple(np.quantile(captions(signals), np.linspace(0, 1, 101)).clip(0, 1).tolist()),
        fitted=dict(fitted),
        vectors=training.vectors,
    )
    return Confidences(values, training.domain, training.frequencies)


def signals_of(observed: Sequence[Observed], words: Logistic) -> Floats:
    """Compute all signals of captions, (I, 5).

    Args:
        observed: of I images.
        words: the probability that a token is in one of the image's references.
    """
    return with_words(np.stack([own.signals for own in observed]), [words(own.words) for own in observed])


def report(
    fitted: Confidences, observed: Sequence[Observed], right: Flags, *, risk: float | None = None
) -> dict[str, Any]:
    """Measure confidences on images that they were not fitted on, as plain values.

    Args:
        fitted: was fitted on other images.
        observed: of the images to report.
        right: whether the caption of each is right.
        risk: also choose the least confidence for this expected share of images whose caption is given and wrong; see
            `captioning.metrics.risk_control`.
    """
    values = fitted.values
    confidences = values.captions(signals_of(observed, values.words))
    words = values.words(np.concatenate([own.words for own in observed]))
    images = np.repeat(np.arange(len(observed)), [len(own.words) for own in observed])
    said = np.concatenate([own.in_references for own in observed])
    far = np.array([own.distance for own in observed]) > values.farthest
    content: dict[str, Any] = {
        "num_images": len(observed),
        "captions": describe(confidences, right),
        "words": _reliabilities(words, said, images),
        "out_of_domain": {"flagged": float(far.mean())},
    }
    if risk is not None:
        content["risk_control"] = _controlled(confidences, right, risk)
    return content


def describe(confidences: Floats, right: Flags) -> dict[str, Any]:
    """Describe the confidences of captions: reliability, risk and coverage, and the AUROC of correctness."""
    return {
        "right": float(right.mean()),
        **_reliabilities(confidences, right),
        "risk": {f"{coverage:g}": own for coverage, own in zip(COVERAGES, risks(confidences, right), strict=True)},
        "auroc": auroc(confidences, right),
    }


def describe_evaluation(evaluation: Evaluation, confidences: Confidences | None) -> dict[str, Any] | None:
    """Describe the confidences of an evaluation's captions.

    None if the model is not calibrated, or if the evaluation has no scores of the metric that says which are right.
    """
    if confidences is None or confidences.values.correctness.metric not in evaluation.scores.corpus:
        return None
    rule, found = confidences.values.correctness, evaluation.predictions
    right = np.array([evaluation.scores.per_image[own.image_id][rule.metric] >= rule.threshold for own in found])
    judged = np.array([(own.confidence, own.distance) for own in found], np.float64)
    return {
        **described(confidences),
        "num_images": len(found),
        "captions": describe(judged[:, 0], right),
        "out_of_domain": {"flagged": float((judged[:, 1] > 1).mean())},
    }


def _reliabilities(confidences: Floats, right: Flags, images: NDArray[np.integer] | None = None) -> dict[str, Any]:
    return {
        "equal_mass": vars(reliability(confidences, right, images)),
        "equal_width": vars(reliability(confidences, right, images, binning="equal_width")),
    }


def _controlled(confidences: Floats, right: Flags, risk: float) -> dict[str, float]:
    """Choose the least confidence, rounded up to four decimals: it may rise, but must not fall.

    Raises:
        InputError: no confidence would be high enough.
    """
    least = float(np.ceil(1e4 * least_confidence(confidences, right, risk)) / 1e4)
    if not least <= 1:
        raise InputError(
            f"risk={risk} cannot be kept on {len(confidences)} images by giving any caption; allow a higher risk, or "
            "calibrate on more images"
        )
    given = confidences >= least
    return {
        "risk": risk,
        "min_confidence": least,
        "coverage": float(given.mean()),
        "given_and_wrong": float((given & ~right).mean()),
    }


def outside(fitted: Confidences, observed: Sequence[Observed], elsewhere: Iterable[ImageFeatures]) -> dict[str, float]:
    """Measure how well the distance tells images from elsewhere apart.

    Args:
        fitted: was fitted on other images.
        observed: of the training images' kind.
        elsewhere: features of at least one image of another kind, in batches, as the decoder reads them.

    Returns:
        Their number, the share of them that count as out of domain, and the AUROC of their distance.
    """
    own = np.array([own.distance for own in observed])
    others = np.concatenate(
        [fitted.domain.distances(vectors_of(features, fitted.values.vectors)) for features in elsewhere]
    )
    return {
        "num_outside": len(others),
        "flagged_outside": float((others > fitted.values.farthest).mean()),
        "auroc": auroc(np.append(own, others), np.arange(len(own) + len(others)) >= len(own)),
    }


def split_in_halves(observed: Sequence[Observed]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the rows to fit on and the rows to report, by a digest of each image's id."""
    return halves([own.image_id for own in observed])
