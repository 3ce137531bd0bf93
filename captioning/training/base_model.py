"""The parts of the model that a run fine-tunes, with its weights, and with the vocabulary of new captions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from captioning.errors import InputError
from captioning.model.bundle import HEADS, Parts
from captioning.model.load import model_of
from captioning.model.safe_build import build
from captioning.model.where import read_model
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_OF_THE_MODEL = (
    "encoder", *HEADS, "text", "source_text", "search", "embeddings", "source_embeddings", "freeze_embeddings",
    "standardise",
)  # fmt: skip
"""Settings that describe a new model, and that a model that is fine-tuned has already."""


def check_base(config: DictConfig) -> None:
    """Check that the settings describe either a new model or one that is fine-tuned.

    Raises:
        InputError: `model` is set beside a setting of new models; or `vocabulary` is set without `model`, or missing.
    """
    if config.get("model") is None:
        if config.get("vocabulary") is not None:
            raise InputError(
                "model=WHERE must be given, because vocabulary= is for a model that is fine-tuned; name its "
                "bundle or its run's folder, or train a new model with vocabulary=null"
            )
        return
    given = [name for name in _OF_THE_MODEL if config.get(name) not in (None, False)]
    if given:
        raise InputError(
            f"model={config.model} with {'=, '.join(given)}=: a model that is fine-tuned has its own; remove "
            f"{'this setting' if len(given) == 1 else 'these settings'}, and use experiment=finetune"
        )
    if config.get("vocabulary") is None:
        raise InputError(f"model={config.model} without vocabulary=: choose vocabulary=keep or vocabulary=extend")


def base_parts(config: DictConfig) -> Parts:
    """Load the parts of the model that a run fine-tunes, with their weights.

    Args:
        config: the run's settings; `model` names a bundle, the folder of a run, or a checkpoint, and `trust` the
            packages whose classes it may have.

    Raises:
        InputError: there is no such model, it is damaged, or it cannot be fine-tuned.
    """
    where = f"model={config.model}"
    parts, load = read_model(Path(config.model), trust=config.trust)
    if parts.head_name != "decoder":
        raise InputError(f"{where} holds a {parts.head_name}, and only captioners are fine-tuned; name a captioner")
    values = parts.config["decoder"]
    if "vocab_size" not in values:
        raise InputError(
            f"{where} is made of other captioners; fine-tune these one by one, and make one of them again with "
            "captioning ensemble or captioning contrast"
        )
    if "num_ngrams" in values:
        raise InputError(
            f"{where} chooses among the n-grams of the captions that it was trained on, and cannot learn others; train "
            "a new one on your captions, or fine-tune another kind of captioner"
        )
    load(model_of(parts))
    if parts.confidences is not None:
        log.info(
            "the confidences of %s are of its own weights; calibrate the new model with captioning calibrate", where
        )
    return replace(parts, confidences=None)


def with_tokenizer(parts: Parts, tokenizer: Tokenizer, config: DictConfig) -> Parts:
    """Give a model a vocabulary that begins with its own.

    Weights that belong to a token are copied for the model's own tokens. For new tokens, they are those of a new
    decoder.

    Args:
        parts: the model's, with weights.
        tokenizer: its own, or one with further tokens after those.
        config: the run's settings.

    Raises:
        InputError: the decoder has weights that depend on the vocabulary in another way than one row for each token.
    """
    if len(tokenizer) == len(parts.tokenizer):
        return parts
    source = f"model={config.model}"
    values = _resized(parts.config["decoder"], tokenizer)
    search = _resized(parts.config["search"], tokenizer)
    decoder: nn.Module = build(values, HEADS["decoder"], source=source, trust=config.trust)
    copy_rows(parts.head, decoder, num_tokens=len(parts.tokenizer), source=source)
    return replace(
        parts,
        head=decoder,
        tokenizer=tokenizer,
        search=build(search, Search, source=source, trust=config.trust),  # type: ignore[type-abstract]
        config={**parts.config, "decoder": values, "search": search},
    )


def _resized(values: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the plain values of a decoder or a search for another vocabulary."""
    given = {"vocab_size": len(tokenizer), "words": tokenizer.vocabulary}
    return {**values, **{name: value for name, value in given.items() if name in values}}


@torch.no_grad()
def copy_rows(old: nn.Module, new: nn.Module, *, num_tokens: int, source: str) -> None:
    """Copy all weights of a decoder into one with further tokens; of weights with a row for each token, the first rows.

    Args:
        old: the decoder that is copied.
        new: one of the same settings and a larger vocabulary. The rows of its further tokens stay as they are.
        num_tokens: V of `old`.
        source: where `old` comes from, for the message.

    Raises:
        InputError: weights depend on the vocabulary in another way than by one row for each token.
    """
    weights = old.state_dict()
    for name, value in new.state_dict().items():
        own = weights[name]
        if own.shape != value.shape and (len(own) != num_tokens or own.shape[1:] != value.shape[1:]):
            raise InputError(
                f"{source}: {type(old).__name__}'s {name} does not have one row for each token, so that its vocabulary "
                "cannot be extended; set vocabulary=keep"
            )
        value[: len(own)] = own
