"""The classification networks of torchvision as encoders."""

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
from captioning.encoders.weights import SUFFIXES, downloading, load_weights, read_weights, similar
from captioning.errors import InputError

log = logging.getLogger(__name__)


class TorchvisionEncoder(Encoder):
    """A classification network of torchvision, its last layer and auxiliary heads taken out.

    Pooled features are what the last layer read: 512 of ResNet-18's average, VGG's 4,096 of fc7, a
    transformer's class token. The grid is the last map of more than one place, or a transformer's patch
    tokens. Where the layers between the two change the width (VGG, AlexNet, MobileNetV3), an encoder with a
    grid has no such layers: pooled is then the grid's mean, so that both have F channels.

    Args:
        model: a name of `torchvision.models`, such as "resnet101".
        weights: a name of that model's weights, such as "DEFAULT" or "IMAGENET1K_V2", which torchvision
            downloads; a local file; or None for random ones.
        grid: give the grid too.
        mode: "crop", the preprocessing published with the weights (with a file or None: with the default
            ones), or "squash", the same without losing the edges; see `ImageTransform`.

    Raises:
        InputError: an unknown name, weights that cannot be had, do not fit, or give no numbers.
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

    def _take_out_heads(self) -> None:
        calls, _ = self._run()
        network: Any = self.network
        # What only training calls is an auxiliary classifier.
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
            at = max(i for i, call in enumerate(calls) if _places(call))
            name, _, features = calls[at]
            self._grid_module = name
            if features.ndim == 3:
                patches = [call for call in calls if _places(call) and call.output.ndim == 4][-1]
                self._num_prefix = features.shape[1] - _places(patches)
            grid = to_grid(features, self._num_prefix)
            if grid.shape[2] != self.feature_size:
                log.info("%s: pooled is the mean of the grid's %d channels", self.model_name, grid.shape[2])
                remove_layers(self.network, calls[at + 1 :])
                self.feature_size, self._mean, pooled = grid.shape[2], True, mean_of(grid)
        if not pooled.isfinite().all():
            raise InputError(
                f"{self.model_name}: these weights give features that are no numbers; expected weights for "
                "all of the network (IMAGENET1K_FEATURES needs encoder.grid=true)"
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
    """The network with random weights, as the default weights need it."""
    build: dict[str, Any] = {"weights": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        network = get_model(model, **build)
        crop = default.transforms().crop_size[0]
        # A ViT takes one size of image, and the builder's is not always that of the weights.
        if getattr(network, "image_size", crop) != crop:
            network = get_model(model, **build, image_size=crop)
    if hasattr(network, "transform_input"):
        # These networks were published for other means; with this they take torchvision's.
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
        f"{', '.join(SUFFIXES)}, or null for random ones"
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


def _places(call: Call) -> int:
    """Number of places of a module's output: of a map (I, F, H, W), or tokens (I, S, F); 0 if it has none."""
    if not isinstance(call.output, Tensor) or call.output.ndim not in (3, 4):
        return 0
    shape = call.output.shape
    places = shape[2] * shape[3] if call.output.ndim == 4 else shape[1]
    return places if places > 1 else 0
