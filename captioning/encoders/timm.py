"""Encoders from timm."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

import timm
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.surgery import example, mean_of, record_calls, remove_layers, to_grid
from captioning.encoders.transform import ImageTransform
from captioning.encoders.weights import downloading, load_weights, read_weights, require_finite, similar
from captioning.errors import InputError

log = logging.getLogger(__name__)


class TimmEncoder(Encoder):
    """A network of timm (Wightman 2019) without its classifier.

    Pooled features are the classifier's input. The grid is the last feature map, or a transformer's patch tokens. If
    the layers between the two change the width (MobileNetV3), an encoder with a grid removes these layers and pools
    the grid's mean, so that both have F channels.

    Args:
        model: timm's name, with or without a tag: "resnet50", "resnet50.a1_in1k".
        weights: "pretrained" for timm's download, a local file with timm's key names, or None for random weights.
        grid: also return the grid.
        mode: "crop" for timm's evaluation preprocessing of these weights, or "squash" to keep the edges; see
            `ImageTransform`.
        size: height and width of the input images, in pixels; None for the size at which timm evaluates the weights.
            Smaller images are faster and give a smaller grid.

    Raises:
        InputError: the name is unknown, the weights cannot be obtained or do not fit, or `grid` is set and the network
            has no grid.
    """

    transform: ImageTransform

    def __init__(
        self, model: str, weights: str | None, *, grid: bool = False, mode: str = "crop", size: int | None = None
    ) -> None:
        _check_name(model)
        if weights == "pretrained":
            if not timm.models.is_model_pretrained(model):
                raise InputError(
                    f"timm has no weights for {model}; expected a local file, null, or one of the models "
                    f"{similar(model, timm.list_models(pretrained=True))}"
                )
            with downloading(f"timm's weights of {model}"):
                network = timm.create_model(model, pretrained=True)
        else:
            network = timm.create_model(model, pretrained=False)
            if weights is not None:
                load_weights(network, read_weights(weights), weights)
        super().__init__(model, grid=grid, transform=_transform(model, network, mode, size))
        network.reset_classifier(0)
        self.network = cast(nn.Module, network)
        self._find_features()
        if weights is not None:
            require_finite(self, weights)

    def _find_features(self) -> None:
        network: Any = self.network
        self._mean = False
        if not self.grid:
            self.feature_size = int(network.head_hidden_size)
            return
        _, features = record_calls(network, lambda: network.forward_features(example(self.transform)))
        head, pooled = record_calls(network, lambda: network.forward_head(features, pre_logits=True))
        self.feature_size = pooled.shape[1]
        if (width := self._to_grid(features).shape[2]) != self.feature_size:
            log.info("%s: pooled is the mean of the grid's %d channels", self.model_name, width)
            remove_layers(network, head)
            self.feature_size, self._mean = width, True

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        network: Any = self.network
        features = network.forward_features(images)
        grid = self._to_grid(features) if self.grid else None
        if grid is not None and self._mean:
            return ImageFeatures(mean_of(grid), grid)
        return ImageFeatures(network.forward_head(features, pre_logits=True), grid)

    def _to_grid(self, features: Tensor | list[Tensor]) -> Tensor:
        """Lay out (I, F, H, W), (I, H, W, F) or tokens (I, S, F) as (I, R, F)."""
        if not isinstance(features, Tensor) or features.ndim not in (3, 4) or features.shape[1] == 1:
            found = list(features.shape) if isinstance(features, Tensor) else f"{len(features)} tensors"
            raise InputError(f"{self.model_name} has no grid (its features are {found}); use encoder.grid=false")
        if features.ndim == 4:
            channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return features.flatten(1, 2) if channels_last else to_grid(features)
        num_tokens = features.shape[1]
        # Without num_prefix_tokens, the patches are assumed to form a square, and the surplus tokens are the prefix.
        num_prefix = getattr(self.network, "num_prefix_tokens", num_tokens - math.isqrt(num_tokens) ** 2)
        return to_grid(features, num_prefix)


def _check_name(model: str) -> None:
    if any(c in model for c in ":/\\"):
        raise InputError(
            f"timm model {model!r}: expected one of timm's registered names, not a hub or a folder; "
            "give your own weights as encoder.weights=PATH"
        )
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = similar(architecture, timm.list_models())
        raise InputError(f"timm has no model {architecture!r}; near: {near}")
    tags = [cfg.tag for cfg in timm.models.get_arch_pretrained_cfgs(architecture).values()]
    if tag and tag not in tags:
        raise InputError(f"timm's {architecture} has no weights tagged {tag!r}; it has {', '.join(tags)}")


def _transform(model: str, network: nn.Module, mode: str, size: int | None) -> ImageTransform:
    config = resolve_model_data_config(network)
    _, height, width = config["input_size"]
    fixed = cast(Any, network).default_cfg.get("fixed_input_size", False)
    if size is not None and fixed and (size, size) != (height, width):
        raise InputError(f"{model} takes only images of {height} x {width} pixels, not size={size}; use size=null")
    if size is not None:
        height = width = size
    own, resize_size = config["crop_mode"], math.floor(height / config["crop_pct"])
    # timm evaluates some networks without cropping.
    squashes = mode == "squash" or (own == "squash" and config["crop_pct"] == 1)
    if not squashes and (own != "center" or height != width):
        raise InputError(
            f"timm evaluates {model} with crop_mode={own!r} at {height} x {width}, which is not supported; "
            "use encoder.mode=squash"
        )
    return ImageTransform(
        size=(height, width),
        resize_size=None if squashes else resize_size,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        mode="squash" if squashes else mode,
    )
