"""Checks of a configuration, and of all that a run reads and writes, made before anything is trained."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from captioning.data.loading import Loading
from captioning.data.module import CaptionDataModule
from captioning.encoders.encoder import Encoder
from captioning.errors import InputError
from captioning.files.lock import locked
from captioning.memory import without_collection
from captioning.model.bundle import HEADS
from captioning.model.safe_build import check, packages
from captioning.modes import evaluating
from captioning.search.hypotheses import Search
from captioning.training.module import TrainingModule
from captioning.training.parts import find_class
from captioning.training.resuming import AUTO, resumes_by_itself

log = logging.getLogger(__name__)

_ANOTHER = "choose another folder for this one with output=DIR"
RESUME_OR_ANOTHER = f"resume it with resume=auto, or {_ANOTHER}"
"""What to do if a folder holds an interrupted run."""
OPTIMIZER_STATES = 2
"""Numbers that an optimizer keeps for each weight that it trains; Adam keeps two."""


def check_output(config: DictConfig, output: Path) -> None:
    """Check that this run would not overwrite another.

    Raises:
        InputError: `output` holds a finished run, or an interrupted one that is not resumed, or another process is
            writing it; or `resume` is no known value.
    """
    if config.get("resume") not in (None, AUTO):
        raise InputError(f"resume={config.resume}: expected auto, or null to start a new run")
    folder, named = output / "checkpoints", config.get("checkpoint")
    own = named is not None and Path(named).resolve().parent == folder.resolve()
    if not resumes_by_itself(config):
        if (output / "bundle").exists() and not own:
            raise InputError(
                f"{output} holds a finished run; {_ANOTHER}, or train it longer with resume=auto and a larger "
                "trainer.max_epochs"
            )
        if any(folder.glob("*.ckpt")) and named is None:
            raise InputError(f"{output} holds an interrupted run; {RESUME_OR_ANOTHER}")
    if output.is_dir() and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        with locked(output):  # fails before anything is written
            pass


def check_encoder(config: DictConfig, loading: Loading) -> None:
    """Check that the encoder's settings do not contradict each other. That of a fine-tuned model has its weights.

    Raises:
        InputError: `finetuning` or `augment` is set with cached features; or the weights are random, and the encoder is
            frozen or its features are standardised.
    """
    trained, cached = config.finetuning is not None, loading.features is not None
    encoder = config.get("encoder")
    untrained = encoder is not None and encoder.get("weights", "") is None
    if trained and config.standardise and untrained:
        raise InputError(
            f"standardise={config.standardise} with encoder.weights=null: the statistics would be those of random "
            "weights; set standardise=false, or encoder.weights to a file or to published weights"
        )
    if trained and cached:
        raise InputError(
            f"data.features={loading.features} holds a frozen encoder's features, on which the encoder cannot be "
            "trained; set finetuning=frozen, or data.features=null to train from images"
        )
    if cached and loading.augment is not None:
        raise InputError(
            f"data.features={loading.features} holds features of images without augmentation; set data.augment=null, "
            "or data.features=null to train from augmented images"
        )
    if not trained and untrained:
        raise InputError(
            "encoder.weights=null without finetuning: the features of a frozen encoder with random weights say "
            "nothing; set finetuning=whole, or encoder.weights to a file, to published weights, for "
            "encoder=detected_words and image_and_words to the bundle of a word detector, or for encoder=grid_cells to "
            "that of an aligner"
        )


def check_monitor(config: DictConfig, expected: Mapping[str, str]) -> None:
    """Check that the monitored metric is computed and that `mode` matches its direction.

    Args:
        config: the group `metrics`.
        expected: "max" or "min" by the name of each score that validation computes.

    Raises:
        InputError: the metric is not computed, or `mode` would select its worst value.
    """
    if config.monitor not in expected:
        raise InputError(
            f"metrics.monitor={config.monitor} is not computed by metrics.names={config.names}; add it, or monitor one "
            f"of {', '.join(expected)}"
        )
    if config.mode != expected[config.monitor]:
        raise InputError(
            f"metrics.mode={config.mode} would choose the worst {config.monitor}; set "
            f"metrics.mode={expected[config.monitor]}"
        )


def check_own_code(config: DictConfig, head: str) -> list[str]:
    """Check that the run's bundle can be loaded if it has classes of other packages, and log which ones.

    Args:
        config: the run's settings.
        head: the group that describes the model's head.

    Returns:
        The names of these packages.

    Raises:
        InputError: a class of encoder, head or search could not be loaded from the bundle.
    """
    parts: dict[str, type] = {
        "encoder": Encoder,
        head: HEADS[head],
        **({"search": Search} if "search" in config else {}),
    }
    plain: dict[str, Any] = {part: OmegaConf.to_container(config[part], resolve=True) for part in parts}
    foreign = sorted(packages(plain))
    for part, base in parts.items():
        if packages(plain[part]):
            find_class(config[part], base)
            check({**plain[part], "weights": None}, base, source=part, trust=foreign)
    if foreign:
        names = ", ".join(f'"{name}"' for name in foreign)
        log.warning(
            "the bundle of this run needs code of %s; load it with trust=[%s] in Python, or %s in commands",
            ", ".join(foreign),
            names,
            " ".join(f"--trust {name}" for name in foreign),
        )
    return foreign


@without_collection()
def check_data(data: CaptionDataModule) -> None:
    """Check what training and validation read: both splits, their files or cached features, and their captions.

    Raises:
        InputError: a split or a file is missing or broken, or a validation image has no caption.
    """
    for split in ("train", data.split):
        images = data.splits.images(split)
        if not images:
            raise InputError(f"{data.splits.name} has no images in the split {split}; choose another, or other data")
    bare = [image.image_id for image in data.splits.images(data.split) if not any(map(str.strip, image.captions))]
    if bare:
        raise InputError(
            f"{data.splits.name} {data.split}: {len(bare):,} images have no caption to score against, the first is "
            f"{bare[0]!r:.80}; add captions, or remove these images from the split"
        )
    data.train_dataloader()
    data.val_dataloader()


def check_run(config: DictConfig, output: Path, module: TrainingModule, data: CaptionDataModule) -> None:
    """Check that the data can be read, that validation works on one image, and that files can be written.

    Raises:
        InputError: the search does not fit the decoder, a folder cannot be written, or the disk is too full.
    """
    check_data(data)
    rehearse(module, data)
    folders = [callback.dirpath for callback in config.callbacks.values() if callback and callback.get("dirpath")]
    for folder in map(Path, [output, *folders]):
        check_writable(folder)
    check_room(output, module)


def rehearse(module: TrainingModule, data: CaptionDataModule) -> None:
    """Validate the first validation image, as validation does. No random number of the run is drawn.

    Raises:
        InputError: the parts of the run do not fit together, such as the search and the decoder.
    """
    with torch.random.fork_rng(devices=()), torch.no_grad(), evaluating(module.model):
        module.rehearse(data.first(data.split))


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, which is made if it is missing.

    Raises:
        InputError: the folder cannot be made, or no file can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}; choose another folder with output=DIR"
        ) from error


def check_room(output: Path, module: TrainingModule) -> None:
    """Check that the disk has room for the run's checkpoints and its bundle.

    The best and the last checkpoint are kept while a new one is written.

    Raises:
        InputError: the disk has too little room.
    """
    weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    groups = [
        *module.model.head.parameters(),
        *(module.model.encoder.parameters() if module.finetuning else []),
    ]
    states = OPTIMIZER_STATES * sum(value.numel() * value.element_size() for value in groups)
    kept = len(list((output / "checkpoints").glob("*.ckpt")))
    needed, free = (weights + states) * max(1, 3 - kept) + weights, shutil.disk_usage(output).free
    if needed > free:
        raise InputError(
            f"{output}: checkpoints and the bundle need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "free some, or choose a folder on another disk with output=DIR"
        )
