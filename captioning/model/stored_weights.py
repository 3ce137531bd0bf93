"""The weights of a stored model: they are read and checked against the model that was built for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from captioning.errors import InputError
from captioning.model.quantised import SCALE, dequantised


def shapes_of(path: Path) -> dict[str, list[int]]:
    """Read the names and shapes of a file's weights, and none of the weights.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = [name for name in file.keys() if not name.endswith(SCALE)]  # noqa: SIM118 - no mapping
            return {name: file.get_slice(name).get_shape() for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {str(error)[:200]}; copy the bundle again") from error


def under(prefix: str, shapes: Mapping[str, Sequence[int]]) -> list[Sequence[int]]:
    """Return the shapes of the weights whose names start with `prefix`."""
    return [shape for name, shape in shapes.items() if name.startswith(prefix)]


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load a bundle's weights into the model that was built from its parts.

    Raises:
        InputError: the file is damaged, its weights are of another model, or one of them is not finite.
    """
    path = folder / "model.safetensors"
    try:
        stored = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}; copy the bundle again") from error
    weights = dequantised(stored, path)
    check_weights(model, weights, path)
    model.load_state_dict(weights)


def check_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Check that weights are exactly those of a model: their names, shapes and dtypes, and that they are finite.

    Raises:
        InputError: a name, shape or dtype differs, or a weight is not finite. The message names the first three.
    """
    own = model.state_dict()
    different = [
        f"{name} is {_kind(weights.get(name))}, expected {_kind(own.get(name))}"
        for name in {**own, **weights}
        if _kind(weights.get(name)) != _kind(own.get(name))
    ]
    if different:
        raise InputError(
            f"{path} does not fit config.json: {len(different)} of {len(own)} weights differ "
            f"({'; '.join(different[:3])[:300]}); the files are of different models: copy the bundle again"
        )
    broken = [name for name, weight in weights.items() if weight.numel() and not _is_finite(weight)]
    if broken:
        raise InputError(
            f"{path}: {len(broken)} of {len(weights)} weights are not finite ({', '.join(broken[:3])}); copy the "
            "bundle again, or choose an earlier checkpoint"
        )


def _is_finite(weight: torch.Tensor) -> bool:
    if not weight.is_floating_point():
        return True
    low, high = weight.aminmax()  # NaN passes through both
    return bool(low.isfinite() and high.isfinite())


def _kind(weight: torch.Tensor | None) -> str:
    return "missing" if weight is None else f"{str(weight.dtype).removeprefix('torch.')} {list(weight.shape)}"
