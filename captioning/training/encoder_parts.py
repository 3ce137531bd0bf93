"""Build the encoder that the settings describe, with what it takes from another trained model."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from captioning.encoders.encoder import Encoder
from captioning.encoders.grid_cells import GridCells
from captioning.encoders.weights import SUFFIXES, load_weights
from captioning.errors import InputError
from captioning.model.bundle import read_bundle
from captioning.model.load import model_of
from captioning.model.shipped import shipped
from captioning.model.where import SUFFIX, read_model
from captioning.training.detected import detector_of
from captioning.training.parts import build, find_class

log = logging.getLogger(__name__)


def new_encoder(settings: DictConfig, *, trust: Collection[str] = ()) -> tuple[Encoder, dict[str, Any]]:
    """Build an encoder of images.

    Args:
        settings: the group `encoder`. Its `weights` may name a trained model, whose encoder was fine-tuned for example:
            a folder, a checkpoint, a model that comes with the package, or one on the hub.
        trust: packages whose classes that model may name.

    Returns:
        The encoder, and those plain values of its description in a bundle that the settings do not give.

    Raises:
        InputError: the encoder cannot be built, there is no such model, or the model has another encoder; see also
            `encoder_parts`.
    """
    parts, plain = encoder_parts(settings)
    weights = settings.get("weights")
    if parts or not _is_model(weights):
        return build(settings, Encoder, **parts), plain  # type: ignore[type-abstract]
    encoder: Encoder = build(settings, Encoder, weights=None)  # type: ignore[type-abstract]
    of_model, load = read_model(Path(weights), trust=trust)
    found = of_model.encoder
    if (type(found), found.model_name) != (type(encoder), encoder.model_name):
        raise InputError(
            f"encoder.weights={weights} is a trained model with another encoder: {type(found).__name__} "
            f"({found.model_name}), expected {type(encoder).__name__} ({encoder.model_name}); choose encoder= as that "
            "model has it, or weights of this encoder"
        )
    load(model_of(of_model))
    load_weights(encoder, found.state_dict(), weights)
    log.info("the encoder has the weights of %s", weights)
    return encoder, plain


def _is_model(weights: str | None) -> bool:
    """Say whether an encoder's weights are those of a trained model, and no file or name of weights."""
    if weights is None:
        return False
    path = Path(weights)
    if path.suffix == SUFFIX or path.is_dir() or weights in shipped():
        return True
    # A path or a name on the hub. read_model says so if there is no such model.
    return len(path.parts) > 1 and path.suffix not in SUFFIXES and not path.is_file()


def encoder_parts(settings: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the parts of an encoder from the bundle that its settings name as `weights`.

    Args:
        settings: the group `encoder`.

    Returns:
        What the encoder's class takes besides these settings, as objects and as the plain values of a bundle; both are
        empty for an encoder that is built from its settings alone.

    Raises:
        InputError: the folder is no bundle of an aligner, for `GridCells`, or of a word detector.
    """
    if not issubclass(find_class(settings, Encoder), GridCells):  # type: ignore[type-abstract]
        return detector_of(settings)
    made_by = "which `captioning train experiment=flickr8k/alignment` writes"
    if settings.weights is None:
        raise InputError(f"encoder.weights is null; expected the folder of an aligner's bundle, {made_by}")
    parts = read_bundle(Path(settings.weights))
    if parts.head_name != "matcher":
        raise InputError(f"encoder.weights={settings.weights} holds a {parts.head_name}, expected a matcher, {made_by}")
    return {"encoder": parts.encoder}, {"encoder": parts.config["encoder"]}
