"""The interface of encoders, which turn images or sentences into ImageFeatures, and fine-tuning by stages."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioning.encoders.batch_norm import SyncedBatchNorm
from captioning.encoders.features import ImageFeatures
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError


class Encoder(nn.Module, ABC):
    """A network from pixels to features.

    Args:
        model: the network's name.
        grid: whether `forward` also returns the grid.
        transform: preprocessing of this network's images; None for an encoder of sentences.

    Attributes:
        feature_size: F, the width of pooled and grid features. Subclasses set it.
        transform: preprocessing of this network's images, or None.
        reads: input of `forward`: "images", "texts", or "nothing" if it ignores the pixels. With "features",
            `forward` always raises InputError, because the features come from files.
    """

    reads: Literal["images", "texts", "nothing", "features"] = "images"
    feature_size: int
    transform: ImageTransform | TextTransform | None

    def __init__(self, model: str, *, grid: bool, transform: ImageTransform | None = None) -> None:
        super().__init__()
        self.model_name, self.grid = model, grid
        self.transform = transform
        self._num_stages: int | None = None  # trainable stages; None for all parameters, also those of no stage
        self._batch_statistics = True

    @abstractmethod
    def forward(self, images: Tensor) -> ImageFeatures:
        """Encode images.

        Args:
            images: (I, C, H, W) float, preprocessed by `transform`.

        Returns:
            pooled (I, F), and with `grid` also grid (I, R, F), row by row from the top left.
        """

    def stages(self) -> list[nn.Module]:
        """List the submodules that have parameters, from input to output.

        A submodule with more than half of all parameters is replaced by its own submodules, repeatedly. A normalisation
        layer joins the submodule before it. Parameters outside submodules, such as a transformer's position embedding,
        belong to no stage.
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

    def set_trainable(self, num_stages: int | None, *, batch_statistics: bool = True) -> Self:
        """Choose the trainable stages. The others are frozen and stay in evaluation mode.

        Args:
            num_stages: how many of the last `stages()` train; 0 for none, None for the whole network.
            batch_statistics: whether batch normalisations of these stages normalise by the batch and move their
                averages; if not, they use and keep those of the weights.

        Raises:
            InputError: `num_stages` is negative or larger than the number of stages.
        """
        stages = self.stages()
        if num_stages is not None and not 0 <= num_stages <= len(stages):
            raise InputError(
                f"{self.model_name}: num_stages={num_stages}, expected 0 (frozen) to {len(stages)} (all its "
                "stages), or null for the whole network"
            )
        self._num_stages, self._batch_statistics = num_stages, batch_statistics
        self.requires_grad_(num_stages is None)
        for stage in self._trainable_stages():
            stage.requires_grad_(True)
        return self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the trainable stages. Frozen stages stay in evaluation mode with fixed statistics."""
        super().train(mode and self._num_stages is None)
        for stage in self._trainable_stages():
            stage.train(mode)
        if not self._batch_statistics:
            for module in self.modules():
                if isinstance(module, (_BatchNorm, SyncedBatchNorm)):
                    module.eval()
        return self

    def _trainable_stages(self) -> list[nn.Module]:
        if not self._num_stages:
            return []
        return self.stages()[-self._num_stages :]

    def digest(self) -> str:
        """Compute the SHA-256 of the state dict: names, dtypes, shapes and bytes, sorted by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def identity(self, transform: ImageTransform | TextTransform | None = None) -> dict[str, Any]:
        """Describe everything that features depend on, as JSON types.

        Two encoders with equal identities compute equal features.

        Args:
            transform: preprocessing of the inputs; None for the encoder's own.

        Raises:
            ValueError: `transform` is None and the encoder has none of its own.
        """
        transform = transform or self.transform
        if transform is None:
            raise ValueError(f"{self.model_name} has no transform of its own, expected one as an argument")
        return {
            "class": type(self).__name__,
            "model": self.model_name,
            "grid": self.grid,
            "transform": transform.to_dict(),
            "weights": self.digest(),
        }


def _num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _parts(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if _num_parameters(child)]
