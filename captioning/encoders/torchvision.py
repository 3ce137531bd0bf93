"""Encoders from torchvision's classification networks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.surgery import Call, example, mean_of, record_calls, remove_layers, to_grid
from captioning.encoders.transform import ImageTransform
from captioning.encoders.weights import SUFFIXES, downloading, load_weights, read_weights, require_finite, similar
from captioning.errors import InputError

log = logging.getLogger(__name__)


class TorchvisionEncoder(Encoder):
    """A classification network of torchvision without its last layer and auxiliary heads.

    Pooled features are the last layer's input: ResNet-18's 512 averages, VGG's 4,096 units of fc7, a transformer's
    class token. The grid is the last feature map of more than one cell, or a transformer's patch tokens. If the layers
    between the two change the width (VGG, AlexNet, MobileNetV3), an encoder with a grid removes these layers and pools
    the grid's mean, so that both have F channels.

    Args:
        model: a name of `torchvision.models`, such as "resnet101".
        weights: a name of the model's weights that torchvision downloads, such as "DEFAULT" or "IMAGENET1K_V2"; a
            local file; or None for random weights.
        grid: also return the grid.
        mode: "crop" for the preprocessing published with the weights (with the default weights for a file or None), or
            "squash" to keep the edges; see `ImageTransform`.

    Raises:
        InputError: the name is unknown, or the weights cannot be obtained, do not fit, or give features that are not
            finite.
    """

    transform: ImageTransform

    def __init__(self, model: str, weights: str | None, *, grid: bool = False, mode: str = "crop") -> None:
        known = torchvision.models.list_models(module=torchvision.models)
        if model not in known:
            raise InputError(f"torchvision has no classification model {model!r}; near: {similar(model, known)}")
        published: Mapping[str, WeightsEnum] = get_model_weights(model).__members__
        preset = published.get(weights or "DEFAULT", published["DEFAULT"])
        super().__init__(model, grid=grid, transform=_transform(preset, mode))
        self.network = _classifier(model, published["DEFAULT"])
        if weights is not None:
            load_weights(self.network, _state(model, weights, published), f"{model} {weights}")
        self._take_out_heads()
        self._find_features()
        if weights is not None:
            require_finite(self, f"{model} {weights}")

    def _take_out_heads(self) -> None:
        calls, _ = self._run()
        network: Any = self.network
        # Submodules that only training calls are auxiliary classifiers.
        for name, _ in list(network.named_children()):
            if not any(call.name == name or call.name.startswith(f"{name}.") for call in calls):
                setattr(network, name, None)
        if hasattr(network, "aux_logits"):
            network.aux_logits = False
        last = [call for call in calls if isinstance(call.module, (nn.Linear, nn.Conv2d))][-1]
        remove_layers(network, [last])

    def _find_features(self) -> None:
        calls, pooled = self._run()
        self.feature_size, self._mean = pooled.shape[1], False
        self._grid_module: str | None = None
        self._num_prefix = 0
        if self.grid:
            at = max(i for i, call in enumerate(calls) if _num_cells(call))
            name, _, features = calls[at]
            self._grid_module = name
            if features.ndim == 3:
                patches = [call for call in calls if _num_cells(call) and call.output.ndim == 4][-1]
                self._num_prefix = features.shape[1] - _num_cells(patches)
            grid = to_grid(features, self._num_prefix)
            if grid.shape[2] != self.feature_size:
                log.info("%s: pooled is the mean of the grid's %d channels", self.model_name, grid.shape[2])
                remove_layers(self.network, calls[at + 1 :])
                self.feature_size, self._mean, pooled = grid.shape[2], True, mean_of(grid)
        if not pooled.isfinite().all():
            raise InputError(
                f"{self.model_name}: these weights give features that are not finite; expected weights of "
                "the whole network (IMAGENET1K_FEATURES needs encoder.grid=true)"
            )

    def _run(self) -> tuple[list[Call], Tensor]:
        return record_calls(self.network, lambda: self.network(example(self.transform)))

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        if self._grid_module is None:
            return ImageFeatures(self.network(images))
        maps: list[Tensor] = []
        module = self.network.get_submodule(self._grid_module)
        handle = module.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
        try:
            pooled = self.network(images)
        finally:
            handle.remove()
        grid = to_grid(maps[-1], self._num_prefix)
        return ImageFeatures(mean_of(grid) if self._mean else pooled, grid)


def _classifier(model: str, default: WeightsEnum) -> nn.Module:
    """Build the network that the default weights fit, with random weights."""
    build: dict[str, Any] = {"weights": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        network = get_model(model, **build)
        crop = default.transforms().crop_size[0]
        # A ViT takes one image size, and the builder's default is not always that of the weights.
        if getattr(network, "image_size", crop) != crop:
            network = get_model(model, **build, image_size=crop)
    if hasattr(network, "transform_input"):
        # GoogLeNet and Inception were trained with other means; this makes them take torchvision's.
        network.transform_input = True
    return cast(nn.Module, network)


def _state(model: str, weights: str, published: Mapping[str, WeightsEnum]) -> Mapping[str, Tensor]:
    if weights in published:
        entry = published[weights]
        place = f"; or put {entry.url} into {torch.hub.get_dir()}/checkpoints"
        with downloading(f"{model} {weights} ({entry.url})", place=place):
            return cast("Mapping[str, Tensor]", entry.get_state_dict(progress=False, check_hash=True))
    if Path(weights).suffix in SUFFIXES:
        return read_weights(weights)
    raise InputError(
        f"{model}: weights={weights!r}, expected one of {', '.join(published)}, a file ending in one of "
        f"{', '.join(SUFFIXES)}, or null for random weights"
    )


def _transform(preset: WeightsEnum, mode: str) -> ImageTransform:
    published = preset.transforms()
    (crop,), (resize,) = published.crop_size, published.resize_size
    return ImageTransform(
        size=(crop, crop),
        resize_size=None if mode == "squash" else resize,
        interpolation=published.interpolation.value,
        mean=tuple(published.mean),
        std=tuple(published.std),
        mode=mode,
    )


def _num_cells(call: Call) -> int:
    """Count the cells of an output (I, F, H, W), or the tokens of (I, S, F); 0 for a single one or other outputs."""
    if not isinstance(call.output, Tensor) or call.output.ndim not in (3, 4):
        return 0
    shape = call.output.shape
    cells = shape[2] * shape[3] if call.output.ndim == 4 else shape[1]
    return cells if cells > 1 else 0
