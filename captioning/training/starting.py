"""Start training from the weights of another model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioning.errors import InputError
from captioning.model.bundle import HEADS
from captioning.model.image_model import ImageModel
from captioning.model.safe_build import packages
from captioning.model.where import read_model
from captioning.training.checkpoints import differences, vocabularies

log = logging.getLogger(__name__)

_IN_TRAINING_ONLY = "dropout"
"""Settings with this in their name may differ from the other model's: they change no caption."""


class Start:
    """A model whose weights another one starts from.

    Args:
        config: the run's settings; `start` names a bundle, the folder of a run, or a checkpoint.

    Attributes:
        saved: its settings, tokenizer and transform, as a checkpoint describes them.

    Raises:
        InputError: there is no such model, or it is damaged.
    """

    def __init__(self, config: DictConfig) -> None:
        self.where = Path(config.start)
        named = [part for part in ("encoder", *HEADS, "search") if config.get(part) is not None]
        plain: Any = {part: OmegaConf.to_container(config[part], resolve=True) for part in named}
        trust = packages(plain) | set(config.get("trust") or ())  # what the run itself is built from
        parts, self._load = read_model(self.where, trust=trust)
        self.saved: Mapping[str, Any] = {
            "config": parts.config,
            "tokenizer": parts.tokenizer.to_json(),
            "transform": parts.transform.to_dict(),
        }

    def load(self, model: ImageModel, own: Mapping[str, Any]) -> None:
        """Give a model the weights.

        Args:
            model: the run's model.
            own: its description, in the form of `saved`.

        Raises:
            InputError: the two models differ in their vocabulary, or in more than dropout.
        """
        there, here = (vocabularies(description) for description in (self.saved, own))
        if there != here:
            raise InputError(
                f"start={self.where} has another vocabulary than this run's training captions; train on the captions "
                "that it has learned from (data.root) with its text settings, or leave out start="
            )
        found = [text for text in differences(self.saved, own) if _IN_TRAINING_ONLY not in text.partition("=")[0]]
        if found:
            raise InputError(
                f"start={self.where} is another model: {', '.join(found)}; choose the settings of that model, or leave "
                "out start="
            )
        self._load(model)
        log.info("starting from the weights of %s", self.where)
