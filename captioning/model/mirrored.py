"""Make a captioner that reads each image and its mirror image; see `captioning.encoders.mirrored`."""

from __future__ import annotations

import logging

from captioning.encoders.mirrored import WithMirrored
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.model.image_model import ImageModel

log = logging.getLogger(__name__)


def also_mirrored(model: ImageModel) -> Captioner:
    """Make a captioner that reads each image and its mirror image, in evaluation mode.

    Its weights are the model's, not copies. It has no confidences, which were calibrated without the mirror image.

    Args:
        model: a captioner of images.

    Raises:
        InputError: the model is no captioner, or its encoder reads no images.
    """
    if not isinstance(model, Captioner):
        raise InputError(f"this model is a {model.head_name}; only captioners read mirror images too")
    if model.confidences is not None:
        log.warning("no confidences: they were calibrated without mirror images; use captioning calibrate")
    config = dict(model.known_config)
    return Captioner(
        WithMirrored(encoder=model.encoder),
        model.decoder,
        model.tokenizer,
        transform=model.transform,
        standardise=model.standardise if isinstance(model.standardise, Standardise) else None,
        search=model.search,
        config=config | {"encoder": {"_target_": "captioning.encoders.WithMirrored", "encoder": config["encoder"]}},
    ).eval()
