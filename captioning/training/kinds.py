"""The kinds of models that can be trained, and what differs between their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig

from captioning.data.module import CaptionDataModule
from captioning.errors import InputError
from captioning.evaluation.scorer import build_scorer
from captioning.metrics import CocoScorer
from captioning.metrics.table import OWN_BACKEND, check_metrics, modes
from captioning.model.bundle import HEADS
from captioning.model.image_model import ImageModel
from captioning.training import captioning, detection, matching
from captioning.training.captioning import CaptioningModule
from captioning.training.checks import check_monitor
from captioning.training.module import TrainingModule


@dataclass(frozen=True)
class Kind:
    """What differs between the runs of one kind of model and of others.

    Attributes:
        module: trains and validates the model.
        validation: checks the settings that this kind alone has rules for, and returns arguments of `module`.
        start: gives a new model what it learns from the training split before the first step; None for nothing.
        searches: whether the model has a search.
    """

    module: Callable[..., TrainingModule]
    validation: Callable[[DictConfig], dict[str, Any]]
    start: Callable[[ImageModel, CaptionDataModule], None] | None = None
    searches: bool = False


def head_of(config: DictConfig) -> str:
    """Return the group of the configuration that describes the model's head.

    Raises:
        InputError: there is not exactly one.
    """
    found = [name for name in HEADS if config.get(name) is not None]
    if len(found) != 1:
        choices = ", ".join(f"{name}=" for name in HEADS)
        raise InputError(
            f"expected one of {choices}, found {' and '.join(found) or 'none'}; choose one and set the others to null"
        )
    return found[0]


def scorer_of(config: DictConfig) -> Callable[[Mapping[int | str, Sequence[str]]], CocoScorer]:
    """Return a function that builds the scorer of the configured metrics from a split's references.

    Raises:
        InputError: a metric is unknown, or something that it needs is missing.
    """
    names = list(config.names)
    backend = OWN_BACKEND if config.backend == "sacrebleu" else config.backend  # as version 0.1 named sacreBLEU's
    check_metrics(names, backend)
    return partial(build_scorer, names=names, backend=backend)


def _of_captions(config: DictConfig) -> dict[str, Any]:
    scorer = scorer_of(config.metrics)
    check_monitor(config.metrics, {**modes(config.metrics.names), "loss": "min", "perplexity": "min"})
    return {"scorer": scorer}


def _of_words(config: DictConfig) -> dict[str, Any]:
    check_monitor(config.metrics, detection.MODES)
    if config.data.captions_per_image is not None:
        raise InputError(
            f"data.captions_per_image={config.data.captions_per_image}: a word detector learns from all words of an "
            "image's captions; set data.captions_per_image=null"
        )
    return {}


def _of_pairs(config: DictConfig) -> dict[str, Any]:
    check_monitor(config.metrics, matching.MODES)
    if config.data.batch_size < 2:
        raise InputError(
            f"data.batch_size={config.data.batch_size}: a matcher learns from the other images of a batch; set "
            "data.batch_size=100"
        )
    return {}


KINDS: Mapping[str, Kind] = {
    "decoder": Kind(CaptioningModule, _of_captions, start=captioning.start, searches=True),
    "detector": Kind(detection.DetectionModule, _of_words, start=detection.start),
    "matcher": Kind(matching.MatchingModule, _of_pairs),
}
"""The kinds of models, by the names of their heads."""
