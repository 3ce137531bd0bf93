"""A run's checkpoints: read without unpickling, and compared with the model that would go on from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from captioning.errors import InputError
from captioning.json_files import flat
from captioning.text.tokenizer import Tokenizer

_OF_DATA = ("encoder.weights", "encoder.vocab_size", "decoder.vocab_size", "transform.tokenizer")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a run's checkpoint, of tensors and plain values alone.

    Raises:
        InputError: there is none, or it is not one that this package wrote.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        parts = saved["captioning"]["config"].keys()
        whole = {"state_dict", "epoch", "global_step"} <= saved.keys() and {"encoder", "decoder", "search"} <= parts
    except FileNotFoundError as error:
        raise InputError(f"no checkpoint at {path}; a run keeps them in its checkpoints/") from error
    except OSError as error:
        raise InputError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    except Exception:  # noqa: BLE001 - torch raises anything, and advises to unpickle: its words are left out
        whole = False
    if not whole:
        raise InputError(
            f"{path} is not a checkpoint of captioning: expected a .ckpt file that `captioning train` wrote, found one "
            "that is damaged, of another kind, or holds more than tensors and plain values; choose another of the "
            "run's checkpoints/"
        )
    return saved


def check_same_model(saved: object, own: Mapping[str, Any]) -> None:
    """Refuse to go on from another model's weights, or from weights for another vocabulary.

    Args:
        saved: what the checkpoint says of its model; None of a checkpoint that does not.
        own: the same of the model: "config", "tokenizer" and "transform", as plain values and text.

    Raises:
        InputError: they differ, or the checkpoint is none of captioning's.
    """
    if not isinstance(saved, dict) or saved.keys() != own.keys():
        raise InputError("the checkpoint is none of captioning's; expected one of a run's checkpoints/")
    there, here = _architecture(saved), _architecture(own)
    differences = [
        f"{key}={there.get(key)} (here {here.get(key)})" for key in {**there, **here} if there.get(key) != here.get(key)
    ]
    if differences:
        raise InputError(
            f"the checkpoint is of another model, by {', '.join(differences)}; go on with that run's own settings, "
            "or train anew without checkpoint="
        )
    if _vocabularies(saved) != _vocabularies(own):
        raise InputError(
            "the checkpoint is of another vocabulary; go on with that run's own training captions (data.root) and "
            "settings of text, or train anew without checkpoint="
        )


def _architecture(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says that its weights depend on; whence the encoder's came does not matter any more."""
    config = saved["config"] or {}
    parts = {key: config[key] for key in ("encoder", "decoder", "standardise") if key in config}
    return {
        key: value for key, value in flat({**parts, "transform": saved["transform"]}).items() if key not in _OF_DATA
    }


def _vocabularies(saved: Mapping[str, Any]) -> list[str]:
    """The tokenizer, and that of the sentences that are translated, as this version writes them."""
    texts = [saved["tokenizer"], *([saved["transform"]["tokenizer"]] if "tokenizer" in saved["transform"] else [])]
    return [Tokenizer.from_json(text).to_json() for text in texts]
