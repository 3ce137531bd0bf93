"""captioning bundle: make a bundle of checkpoints, of a run, or of another bundle."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands import parse_arguments
from captioning.commands._bundles import add_trust
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from captioning.model.image_model import ImageModel


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning bundle",
        description="Make a bundle of any model. A bundle is the folder that `captioning caption` and "
        "`Captioner.from_pretrained` read. --bits 8 and --mirrored change the model: evaluate and calibrate it again.",
        epilog="examples: captioning bundle runs/2026-01-31/checkpoints/epoch_*.ckpt average, after training with "
        "callbacks.checkpoint.save_top_k=-1; captioning bundle runs/2026-01-31 small --bits 8",
    )
    parser.add_argument(
        "model",
        nargs="+",
        help="a bundle, a run's folder or a checkpoint (.ckpt); of several checkpoints, the weights are averaged",
    )
    parser.add_argument("out", help="folder of the new bundle; must be empty or not exist")
    parser.add_argument(
        "--bits",
        type=int,
        choices=(32, 8),
        default=32,
        help="of each stored weight; 8 makes the file a quarter as large",
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="let a captioner read mirror images too, which takes the encoder twice as long",
    )
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="a metrics.json for the model card")
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    metrics = None if options.metrics is None else _metrics(options.metrics)

    from captioning.model.mirrored import also_mirrored
    from captioning.training.checkpoints import average_checkpoints

    if any(Path(model).suffix == ".ckpt" for model in options.model):
        model, origin = average_checkpoints(options.model, trust=options.trust)
    else:
        model, origin = _load(options.model, options.trust), {}
    if options.mirrored:
        model = also_mirrored(model)
    print(model.save(options.out, metrics=origin if metrics is None else metrics, bits=options.bits))
    return 0


def _load(models: Sequence[str], trust: Collection[str]) -> ImageModel:
    from captioning.model.load import load_model

    if len(models) > 1:
        raise InputError(
            f"{len(models)} models: only a run's checkpoints (.ckpt) are averaged; `captioning ensemble` joins models"
        )
    return load_model(models[0], trust=trust)


def _metrics(path: Path) -> dict[str, Any]:
    from captioning.json_files import read_json

    found = read_json(path)
    if not isinstance(found.get("metrics"), dict) or not isinstance(found.get("signature"), dict):
        raise InputError(
            f"{shown(path, 300)} has no metrics and signature; expected a metrics.json of `captioning evaluate`"
        )
    return found
