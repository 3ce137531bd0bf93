"""A run's checkpoints: written with digests, compared with the model that resumes, and made into bundles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from captioning.errors import InputError
from captioning.files.atomic import replacing, write_text
from captioning.files.digests import sha256
from captioning.json_files import flat
from captioning.model.bundle import HEADS
from captioning.model.checkpoint import checkpoint_parts, digest_file, digests_of, load_checkpoint, read_checkpoint
from captioning.model.image_model import ImageModel
from captioning.model.load import model_of
from captioning.text.tokenizer import Tokenizer

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
        digest_file(Path(path)).unlink(missing_ok=True)
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
    earlier = digests_of(path) or ([sha256(path)] if path.is_file() else [])
    with replacing(path) as new:
        write(new)
        digest = sha256(new)
        _write_digests(path, [digest, *earlier])
    _write_digests(path, [digest])


def _write_digests(path: Path, digests: list[str]) -> None:
    write_text(digest_file(path), "".join(f"{digest}  {path.name}\n" for digest in digests))


def average_checkpoints(
    checkpoints: Sequence[str | Path], *, trust: Collection[str] = ()
) -> tuple[ImageModel, dict[str, Any]]:
    """Build the model of checkpoints, whose weights are averaged. A buffer that counts is that of the last one.

    Args:
        checkpoints: the files, at least one.
        trust: packages whose classes the checkpoints may name; see `captioning.model.safe_build.build`.

    Returns:
        The model, and the epochs and steps of the checkpoints, for a bundle's metrics.json.

    Raises:
        InputError: a file is not a checkpoint of this package, is damaged or of another model than the first one.
    """
    model, saved = read_model(checkpoints[0], trust=trust)
    found, mean = [saved], {name: value.double() for name, value in model.state_dict().items()}
    for count, path in enumerate(checkpoints[1:], start=2):
        other, saved = read_model(path, trust=trust)
        check_same_model(saved["captioning"], found[0]["captioning"], name=str(path))
        found.append(saved)
        for name, value in other.state_dict().items():
            mean[name] = mean[name].lerp(value.double(), 1 / count) if value.is_floating_point() else value
    model.load_state_dict(mean)
    named = [{"epoch": saved["epoch"], "step": saved["global_step"]} for saved in found]
    return model, {"checkpoint": named[0]} if len(named) == 1 else {"checkpoints": named}


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
    model = model_of(checkpoint_parts(saved, path, trust=trust))
    load_checkpoint(model, saved, path)
    return model, saved


def check_same_model(saved: object, own: Mapping[str, Any], *, name: str = "the checkpoint") -> None:
    """Check that a checkpoint is of the same model and vocabulary as the run that resumes from it.

    Args:
        saved: the checkpoint's description of its model; None if it has none.
        own: the run's: "config", "tokenizer" and "transform", as plain values and text.
        name: names the checkpoint in the message.

    Raises:
        InputError: the two differ, or captioning did not write the checkpoint.
    """
    if not isinstance(saved, dict) or saved.keys() != own.keys():
        raise InputError("captioning did not write this checkpoint; expected a file of a run's checkpoints/")
    found = differences(saved, own)
    if found:
        raise InputError(
            f"{name} is of another model: {', '.join(found)}; resume with that run's own settings, or "
            "start a new run without checkpoint="
        )
    if vocabularies(saved) != vocabularies(own):
        raise InputError(
            f"{name} is of another vocabulary; resume with that run's own training captions (data.root) and "
            "text settings, or start a new run without checkpoint="
        )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """List the settings that weights depend on and in which two models differ; arguments as of `check_same_model`."""
    there, here = _architecture(saved), _architecture(own)
    return [
        f"{key}={there.get(key)} (here {here.get(key)})" for key in {**there, **here} if there.get(key) != here.get(key)
    ]


def _architecture(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that weights depend on, without the file or name from which the encoder's weights came."""
    config = saved["config"] or {}
    parts = {key: config[key] for key in ("encoder", *HEADS, "standardise") if key in config}
    return {
        key: value for key, value in flat({**parts, "transform": saved["transform"]}).items() if key not in _OF_DATA
    }


def vocabularies(saved: Mapping[str, Any]) -> list[str]:
    """Return the tokenizer, and that of source sentences if there is one, as this version writes them."""
    texts = [saved["tokenizer"], *([saved["transform"]["tokenizer"]] if "tokenizer" in saved["transform"] else [])]
    return [Tokenizer.from_json(text).to_json() for text in texts]
