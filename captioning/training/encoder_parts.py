"""The parts of encoders that are read from the bundle of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from captioning.encoders.encoder import Encoder
from captioning.encoders.grid_cells import GridCells
from captioning.errors import InputError
from captioning.model.bundle import read_bundle
from captioning.training.detected import detector_of
from captioning.training.parts import find_class


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
