"""What every encoder is: images, or sentences, to ImageFeatures, and how much of it learns."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from captioning.encoders.features import ImageFeatures
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError


class Encoder(nn.Module, ABC):
    """A network from pixels to features.

    Args:
        model: the network's name.
        grid: whether `forward` gives the grid too.
        transform: how an image becomes this network's input; None where it is set later.

    Attributes:
        feature_size: F, the width of pooled and grid features; a subclass sets it.
        transform: how an image becomes this network's input.
        reads: what `forward` takes: "images"; "texts"; "nothing", where it looks at no pixel; or "features", where
            it only refuses, because features come from files alone.
    """

    reads: Literal["images", "texts", "nothing", "features"] = "images"
    feature_size: int
    transform: ImageTransform | TextTransform

    def __init__(self, model: str, *, grid: bool, transform: ImageTransform | None = None) -> None:
        super().__init__()
        self.model_name, self.grid = model, grid
        if transform is not None:
            self.transform = transform
        self._num_stages: int | None = None  # that train; None for all, loose parameters included

    @abstractmethod
    def forward(self, images: Tensor) -> ImageFeatures:
        """Encode images.

        Args:
            images: (I, C, H, W) float, made by `transform`.

        Returns:
            pooled (I, F), and with `grid` also grid (I, R, F), row by row from the top left.
        """

    def stages(self) -> list[nn.Module]:
        """The network's parts with parameters, from input to output.

        A part that holds more than half of all parameters is opened into its own parts, until none does or it
        has none. A normalisation goes with the part before it. Parameters that are no part's, such as a
        transformer's position embedding, belong to no stage.
        """
        parts, limit = _parts(self), _num_parameters(self) / 2
        while large := next((p for p in parts if _num_parameters(p) > limit and _parts(p)), None):
            at = parts.index(large)
            parts[at : at + 1] = _parts(large)
        stages: list[nn.Module] = []
        for part in parts:
            if stages and all(p.ndim < 2 for p in part.parameters()):
                stages[-1] = nn.ModuleList([stages[-1], part])
            else:
                stages.append(part)
        return stages

    def set_trainable(self, num_stages: int | None) -> Self:
        """Choose what learns, and put that in training mode and the rest in evaluation mode, to stay there.

        Args:
            num_stages: only the last so many `stages()`; 0 for none; None for all of the network.

        Raises:
            InputError: there are not so many stages.
        """
        stages = self.stages()
        if num_stages is not None and not 0 <= num_stages <= len(stages):
            raise InputError(
                f"{self.model_name}: num_stages={num_stages}, expected 0 (frozen) to {len(stages)} (all its "
                "stages), or null for all of it"
            )
        self._num_stages = num_stages
        self.requires_grad_(num_stages is None)
        for stage in self._trainable_stages():
            stage.requires_grad_(True)
        return self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what learns. The rest stays in evaluation mode: no statistic of it drifts."""
        super().train(mode and self._num_stages is None)
        for stage in self._trainable_stages():
            stage.train(mode)
        return self

    def _trainable_stages(self) -> list[nn.Module]:
        if not self._num_stages:
            return []
        return self.stages()[-self._num_stages :]

    def digest(self) -> str:
        """SHA-256 of the weights: names, types, shapes and bytes of the state dict, in the order of names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def identity(self, transform: ImageTransform | TextTransform | None = None) -> dict[str, Any]:
        """Describe what features depend on, as JSON values: encoders with equal identities give equal features.

        Args:
            transform: makes the encoder's input; None for the encoder's own.
        """
        return {
            "class": type(self).__name__,
            "model": self.model_name,
            "grid": self.grid,
            "transform": (transform or self.transform).to_dict(),
            "weights": self.digest(),
        }


def _num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _parts(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if _num_parameters(child)]
