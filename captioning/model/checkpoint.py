"""A run's checkpoints as models: read without unpickling, and built like bundles. Training writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from captioning.errors import InputError
from captioning.files.digests import sha256
from captioning.json_files import typed
from captioning.model.bundle import HEADS, Config, Parts, build_parts
from captioning.model.stored_weights import check_weights

PREFIX = "model."
"""The prefix of the model's weights in the state dict of its LightningModule."""


class SavedModel(msgspec.Struct):
    """What a checkpoint says of its model beside the weights."""

    config: Config
    tokenizer: str
    transform: dict[str, Any]


def check_digest(path: str | Path) -> bool:
    """Compare a checkpoint with its digest.

    Returns:
        True if it is unchanged, False if it has no digest, as older versions wrote it.

    Raises:
        InputError: the checkpoint does not exist, cannot be read, is damaged or was changed.
    """
    path = Path(path)
    digests = digests_of(path)
    try:
        if digests:
            whole = sha256(path) in digests
        else:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None  # torch itself does not compare the checksums that it writes
    except FileNotFoundError as error:
        raise InputError(f"no checkpoint at {path}; a run keeps them in its checkpoints/") from error
    except OSError as error:
        raise InputError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises anything on damaged bytes
        raise _no_checkpoint(path) from error
    if not whole:
        raise InputError(
            f"{path} is damaged, or was changed after captioning wrote it: its bytes do not fit their digest; choose "
            "another of the run's checkpoints/"
        )
    return bool(digests)


def digest_file(path: Path) -> Path:
    """Return the file of a checkpoint's digest."""
    return path.with_name(f"{path.name}.sha256")


def digests_of(path: Path) -> list[str]:
    """Return the digests that a checkpoint may have: none as older versions wrote it, two while it is replaced."""
    try:
        lines = digest_file(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split(" ")[0] for line in lines] or [""]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a run's checkpoint, which may hold only tensors and plain values.

    Returns:
        The checkpoint, with the keys of this version in its state dict.

    Raises:
        InputError: the file does not exist, is damaged, or this package did not write it.
    """
    try:
        check_digest(path)
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        parts = saved["captioning"]["config"].keys()
        whole = (
            "encoder" in parts
            and any(head in parts for head in HEADS)
            and all(isinstance(name, str) and isinstance(x, Tensor) for name, x in saved["state_dict"].items())
            and all(type(saved[count]) is int and saved[count] >= 0 for count in ("epoch", "global_step"))
        )
    except InputError:
        raise
    except Exception:  # noqa: BLE001 - torch raises anything, with the advice to unpickle, which is left out
        whole = False
    if not whole:
        raise _no_checkpoint(path)
    return {**saved, "state_dict": with_new_keys(saved["state_dict"])}


def _no_checkpoint(path: str | Path) -> InputError:
    return InputError(
        f"{path} is not a checkpoint of captioning: expected a .ckpt file that `captioning train` wrote, found one "
        "that is damaged, of another kind, or holds more than tensors and plain values; choose another of the run's "
        "checkpoints/"
    )


def with_new_keys(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a state dict of an earlier version.

    In version 0.1, the captioner itself was the LightningModule. Later its prefix was "captioner.".
    """
    parts = ("encoder.", "decoder.", "standardise.")
    bare = {key.removeprefix("captioner."): value for key, value in weights.items()}
    return {f"{PREFIX}{key}" if key.startswith(parts) else key: value for key, value in bare.items()}


def model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the model's weights in a checkpoint. Weights of an objective are left out: only training uses them."""
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    return {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}


def checkpoint_parts(saved: Mapping[str, Any], path: Path, *, trust: Collection[str] = ()) -> Parts:
    """Build the parts of a checkpoint's model, without its weights.

    Args:
        saved: the checkpoint, from `read_checkpoint`.
        path: its file.
        trust: packages whose classes it may name; see `captioning.model.safe_build.build`.

    Raises:
        InputError: it does not describe a model, or one of another shape than its weights.
    """
    own = typed(saved["captioning"], SavedModel, str(path))
    return build_parts(
        own.config.without_source(),
        own.tokenizer,
        own.transform,
        shapes={name: weight.shape for name, weight in model_weights(saved).items()},
        folder=path,
        trust=trust,
    )


def load_checkpoint(model: nn.Module, saved: Mapping[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into the model that was built from its parts.

    Raises:
        InputError: the weights are of another model, or one of them is not finite.
    """
    weights = model_weights(saved)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
