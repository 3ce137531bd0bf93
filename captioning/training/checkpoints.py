"""A run's checkpoints: read without unpickling, compared with the model that resumes, and made into bundles."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH
from torch import Tensor

from captioning.errors import InputError
from captioning.files.atomic import replacing, write_text
from captioning.files.digests import sha256
from captioning.json_files import flat, typed
from captioning.model.bundle import HEADS, Config, build_parts, check_weights
from captioning.model.image_model import ImageModel
from captioning.model.load import model_of
from captioning.text.tokenizer import Tokenizer

PREFIX = "model."
"""The prefix of the model's weights in the state dict of its LightningModule."""


class SavedModel(msgspec.Struct):
    """What a checkpoint says of its model beside the weights."""

    config: Config
    tokenizer: str
    transform: dict[str, Any]


_OF_DATA = ("encoder.weights", "transform.tokenizer", *(f"{part}.vocab_size" for part in ("encoder", *HEADS)))


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoint files, each with a SHA-256 digest, written whole or not at all.

    Lightning itself writes to the system's temporary folder and moves the file, which is a copy between file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write a checkpoint and its digest beside it.

        Raises:
            InputError: a file cannot be written. The earlier checkpoint is as it was.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_with_digest(Path(path), lambda new: torch.save(checkpoint, new))

    def remove_checkpoint(self, path: _PATH) -> None:
        """Remove a checkpoint and its digest."""
        _digest_file(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


def write_with_digest(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a checkpoint and its digest, `NAME.ckpt.sha256`, which `sha256sum --check` reads.

    The digest's file holds the new and the earlier digest while the checkpoint is replaced, so that it fits the
    checkpoint at whatever moment the process is killed.

    Args:
        path: the checkpoint.
        write: writes the new checkpoint to the path that it is given.

    Raises:
        InputError: a file cannot be written.
    """
    earlier = _digests(path) or ([sha256(path)] if path.is_file() else [])
    with replacing(path) as new:
        write(new)
        digest = sha256(new)
        _write_digests(path, [digest, *earlier])
    _write_digests(path, [digest])


def check_digest(path: str | Path) -> bool:
    """Compare a checkpoint with its digest.

    Returns:
        True if it is unchanged, False if it has no digest, as older versions wrote it.

    Raises:
        InputError: the checkpoint does not exist, cannot be read, is damaged or was changed.
    """
    path = Path(path)
    digests = _digests(path)
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


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digests(path: Path) -> list[str]:
    try:
        lines = _digest_file(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split(" ")[0] for line in lines] or [""]


def _write_digests(path: Path, digests: list[str]) -> None:
    write_text(_digest_file(path), "".join(f"{digest}  {path.name}\n" for digest in digests))


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


def bundle_checkpoint(checkpoint: str | Path, folder: str | Path, *, trust: Collection[str] = ()) -> Path:
    """Make a bundle from a run's checkpoint. Its metrics.json names the epoch and the step, and has no scores.

    Args:
        checkpoint: the checkpoint's file.
        folder: the bundle's folder.
        trust: packages whose classes the checkpoint may name; see `captioning.model.safe_build.build`.

    Raises:
        InputError: the file is not a checkpoint of this package, is damaged, or the folder cannot be written.
    """
    model, saved = read_model(checkpoint, trust=trust)
    return model.save(folder, metrics={"checkpoint": {"epoch": saved["epoch"], "step": saved["global_step"]}})


def read_model(checkpoint: str | Path, *, trust: Collection[str] = ()) -> tuple[ImageModel, dict[str, Any]]:
    """Build the model of a run's checkpoint with its weights.

    Args:
        checkpoint: the checkpoint's file.
        trust: packages whose classes the checkpoint may name; see `captioning.model.safe_build.build`.

    Returns:
        The model, and the content of the checkpoint.

    Raises:
        InputError: the file is not a checkpoint of this package, or is damaged.
    """
    path = Path(checkpoint)
    saved = read_checkpoint(path)
    own = typed(saved["captioning"], SavedModel, str(path))
    weights = model_weights(saved)
    parts = build_parts(
        own.config.without_source(),
        own.tokenizer,
        own.transform,
        shapes={name: weight.shape for name, weight in weights.items()},
        folder=path,
        trust=trust,
    )
    model = model_of(parts)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    return model, saved


def check_same_model(saved: object, own: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of the same model and vocabulary as the run that resumes from it.

    Args:
        saved: the checkpoint's description of its model; None if it has none.
        own: the run's: "config", "tokenizer" and "transform", as plain values and text.

    Raises:
        InputError: the two differ, or captioning did not write the checkpoint.
    """
    if not isinstance(saved, dict) or saved.keys() != own.keys():
        raise InputError("captioning did not write this checkpoint; expected a file of a run's checkpoints/")
    there, here = _architecture(saved), _architecture(own)
    differences = [
        f"{key}={there.get(key)} (here {here.get(key)})" for key in {**there, **here} if there.get(key) != here.get(key)
    ]
    if differences:
        raise InputError(
            f"the checkpoint is of another model: {', '.join(differences)}; resume with that run's own settings, or "
            "start a new run without checkpoint="
        )
    if _vocabularies(saved) != _vocabularies(own):
        raise InputError(
            "the checkpoint is of another vocabulary; resume with that run's own training captions (data.root) and "
            "text settings, or start a new run without checkpoint="
        )


def _architecture(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that weights depend on, without the file or name from which the encoder's weights came."""
    config = saved["config"] or {}
    parts = {key: config[key] for key in ("encoder", *HEADS, "standardise") if key in config}
    return {
        key: value for key, value in flat({**parts, "transform": saved["transform"]}).items() if key not in _OF_DATA
    }


def _vocabularies(saved: Mapping[str, Any]) -> list[str]:
    """Return the tokenizer, and that of source sentences if there is one, as this version writes them."""
    texts = [saved["tokenizer"], *([saved["transform"]["tokenizer"]] if "tokenizer" in saved["transform"] else [])]
    return [Tokenizer.from_json(text).to_json() for text in texts]
